import assert from "node:assert/strict";
import test from "node:test";

import { isPromoted } from "../../web/js/common/graph.js";
import { knownValue, sourceOf } from "../../web/js/common/upstream.js";
import { findReferences, stem } from "../../web/js/editor/graph.js";
import { Graph } from "./graph_double.mjs";

const LIST = JSON.stringify([
  { file: "cast/alice.png", kind: "person", photos: ["a2.png", "a3.png"] },
  { file: "cup.jpg", name: "my cup", off: true },
  { file: "place.png", name: "place", kind: "background" },
]);
const loader = (graph, references = LIST, inputs = []) =>
  graph.add("MagrefLoadReferences", { widgets: { references }, inputs: ["references", ...inputs] });
const canvas = (graph) => graph.add("MagrefBuildMaskedCanvas", { inputs: ["references"] });

test("the list of the loader is found, one entry for each photo and none for what is off", () => {
  const graph = new Graph();
  const node = canvas(graph);
  graph.link(loader(graph), 0, node, "references");
  const found = findReferences(node);
  assert.deepEqual(found.entries, [
    { name: "alice", kind: "person", subject: "alice", file: "cast/alice.png" },
    { name: "alice 2", kind: "person", subject: "alice", file: "a2.png" },
    { name: "alice 3", kind: "person", subject: "alice", file: "a3.png" },
    { name: "place", kind: "background", file: "place.png" },
  ]);
  assert.equal(found.files.length, 2);
  assert.deepEqual([found.isChanged, found.note], [false, ""]);
});

test("the walk goes through cut-outs, reroutes and bypassed nodes", () => {
  const graph = new Graph();
  const node = canvas(graph);
  const cut = graph.add("MagrefAutoMaskSubject", { inputs: ["references"] });
  const reroute = graph.add("Reroute", { inputs: [""], isVirtualNode: true });
  const other = graph.add("SomethingElse", { inputs: ["x", "references"], mode: 4 });
  other.inputs[0].type = "IMAGE";
  graph.link(loader(graph), 0, reroute, "");
  graph.link(reroute, 0, cut, "references");
  graph.link(cut, 0, other, "references");
  graph.link(other, 0, node, "references");
  const found = findReferences(node);
  assert.equal(found.entries.length, 4);
  assert.equal(found.isChanged, true);
});

test("a changed setting of a cut-out is told", () => {
  const graph = new Graph();
  const node = canvas(graph);
  const cut = graph.add("MagrefAutoMaskSubject", { inputs: ["references"], widgets: { method: "auto" } });
  graph.link(loader(graph), 0, cut, "references");
  graph.link(cut, 0, node, "references");
  assert.deepEqual(findReferences(node).changes, [[["method", "auto"]]]);
  cut.widgets[0].value = "grabcut";
  assert.deepEqual(findReferences(node).changes, [[["method", "grabcut"]]]);
});

test("the walk goes through decorrelation, and a changed setting of it is told", () => {
  const graph = new Graph();
  const node = canvas(graph);
  const cut = graph.add("MagrefAutoMaskSubject", { inputs: ["references"], widgets: { method: "auto" } });
  const change = graph.add("MagrefDecorrelateReferences", { inputs: ["references"], widgets: { seed: 1 } });
  graph.link(loader(graph), 0, cut, "references");
  graph.link(cut, 0, change, "references");
  graph.link(change, 0, node, "references");
  const found = findReferences(node);
  assert.deepEqual([found.entries.length, found.isChanged], [4, true]);
  change.widgets[0].value = 2;
  assert.deepEqual(findReferences(node).changes, [[["seed", 2]], [["method", "auto"]]]);
});

test("a bypassed cut-out does not cut", () => {
  const graph = new Graph();
  const node = canvas(graph);
  const cut = graph.add("MagrefAutoMaskSubject", { inputs: ["references"], mode: 4 });
  graph.link(loader(graph), 0, cut, "references");
  graph.link(cut, 0, node, "references");
  assert.equal(findReferences(node).isChanged, false);
});

test("the walk enters a subgraph from outside and leaves it from inside", () => {
  const root = new Graph();
  const inner = new Graph(root);
  root.subgraphs.set("inner", inner);
  const loaded = loader(inner);
  const out = inner.link(loaded, 0, null);
  inner.outputNode = { slots: [{ getLinks: () => [out] }] };
  const host = root.add("inner", { subgraph: inner, inputs: ["references"] });
  const node = canvas(root);
  root.link(host, 0, node, "references");
  assert.equal(findReferences(node).entries.length, 4);

  const deep = new Graph(root);
  root.subgraphs.set("deep", deep);
  const within = canvas(deep);
  deep.link(null, 0, within, "references");
  const shell = root.add("deep", { subgraph: deep, inputs: ["references"] });
  root.link(host, 0, shell, "references");
  assert.equal(findReferences(within).entries.length, 4);
});

test("pictures that Load Image reads are known, others are not, and the route is asked for neither", () => {
  const graph = new Graph();
  const node = canvas(graph);
  const list = JSON.stringify([{ image: "image_1", name: "alice", kind: "person" }]);
  const loaded = loader(graph, list, ["images.image_1", "images.image_2", "images.image_3"]);
  graph.link(graph.add("LoadImage", { widgets: { image: "a.png" } }), 0, loaded, "images.image_1");
  graph.link(graph.add("LoadImage", { widgets: { image: "b.png" } }), 0, loaded, "images.image_2");
  graph.link(loaded, 0, node, "references");
  assert.deepEqual(findReferences(node).entries, [
    { name: "alice", kind: "person", file: "a.png", isOpaque: true },
    { name: "image_2", kind: "object", file: "b.png", isOpaque: true },
  ]);
  assert.equal(findReferences(node).files, null);
  graph.link(graph.add("EmptyImage"), 0, loaded, "images.image_3");
  const found = findReferences(node);
  assert.equal(found.entries[2].file, undefined);
  assert.match(found.note, /run the graph once/);
});

test("a picture whose card is switched off is not used, and its socket makes no new one", () => {
  const graph = new Graph();
  const node = canvas(graph);
  const list = JSON.stringify([{ image: "image_1", name: "alice", off: true }, { file: "cup.png" }]);
  const loaded = loader(graph, list, ["images.image_1"]);
  graph.link(graph.add("LoadImage", { widgets: { image: "a.png" } }), 0, loaded, "images.image_1");
  graph.link(loaded, 0, node, "references");
  assert.deepEqual(findReferences(node).entries, [{ name: "cup", kind: "object", file: "cup.png" }]);
});

test("where nothing can be known a sentence says what to do", () => {
  const graph = new Graph();
  const node = canvas(graph);
  assert.match(findReferences(node).note, /connect MAGREF Load References/);
  const strange = graph.add("SomethingElse");
  graph.link(strange, 0, node, "references");
  assert.match(findReferences(node).note, /run the graph once/);
  for (const [text, sentence] of [
    ["{", /cannot be read: correct it/],
    ["[7]", /cannot be read/],
    ['{"file": "a.png"}', /cannot be read/],
    ["", /no picture yet: add one/],
    ['[{"file": "a.png", "off": true}]', /no picture yet/],
  ]) {
    graph.link(loader(graph, text), 0, node, "references");
    assert.match(findReferences(node).note, sentence, text);
    assert.equal(findReferences(node).entries, null);
  }
  const linked = loader(graph);
  graph.link(strange, 0, linked, "references");
  graph.link(linked, 0, node, "references");
  assert.match(findReferences(node).note, /over a link/);
});

test("a muted node gives nothing, and a circle of links ends", () => {
  const graph = new Graph();
  const node = canvas(graph);
  const muted = loader(graph);
  muted.mode = 2;
  graph.link(muted, 0, node, "references");
  assert.equal(sourceOf(node, "references"), null);
  const round = graph.add("Reroute", { inputs: [""], isVirtualNode: true });
  graph.link(round, 0, round, "");
  graph.link(round, 0, node, "references");
  assert.equal(sourceOf(node, "references"), null);
});

test("a name is taken from a file as the server does", () => {
  assert.deepEqual(["cast/a.b.png", "alice", ".hidden", "image_1"].map(stem), ["a.b", "alice", ".hidden", "image_1"]);
});

test("a value is known from the widget, from a primitive node, and not from a node that reckons", () => {
  const graph = new Graph();
  const node = graph.add("MagrefBuildMaskedCanvas", { inputs: ["width"], widgets: { width: 832 } });
  assert.equal(knownValue(node, "width"), 832);
  assert.equal(knownValue(node, "order"), undefined);
  graph.link(graph.add("PrimitiveInt", { widgets: { value: 640 } }), 0, node, "width");
  assert.equal(knownValue(node, "width"), 640);
  graph.link(graph.add("GetImageSize", { widgets: { value: 1 } }), 0, node, "width");
  assert.equal(knownValue(node, "width"), undefined);
});

test("a value that was promoted is that of the subgraph's node", () => {
  const root = new Graph();
  const inner = new Graph(root);
  root.subgraphs.set("inner", inner);
  const host = root.add("inner-id", { inputs: ["wide"], widgets: { wide: 512 }, subgraph: inner });
  const node = inner.add("MagrefBuildMaskedCanvas", { inputs: ["width"], widgets: { width: 832 } });
  inner.link(null, 0, node, "width");
  assert.equal(knownValue(node, "width"), 512);
  assert.equal(isPromoted(node, node.inputs[0]), true);
  root.link(root.add("PrimitiveInt", { widgets: { value: 640 } }), 0, host, "wide");
  assert.equal(knownValue(node, "width"), 640);
  assert.equal(isPromoted(node, node.inputs[0]), false);
});

test("a list that was promoted is read from the subgraph's node", () => {
  const root = new Graph();
  const inner = new Graph(root);
  root.subgraphs.set("inner", inner);
  root.add("inner-id", { inputs: ["references"], widgets: { references: LIST }, subgraph: inner });
  const source = loader(inner, "[]");
  inner.link(null, 0, source, "references");
  const node = canvas(inner);
  inner.link(source, 0, node, "references");
  assert.equal(findReferences(node).entries.length, 4);
});
