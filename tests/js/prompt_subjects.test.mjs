import assert from "node:assert/strict";
import test from "node:test";

import { findSubjects } from "../../web/js/prompt/subjects.js";
import { Graph } from "./graph_double.mjs";

const LIST = JSON.stringify([
  { file: "cast/alice.png", kind: "person", word: "woman", photos: ["a2.png"] },
  { file: "cup.jpg", name: "my_cup" },
  { file: "b.png", name: "gone", off: true },
]);
const FOUND = [
  { name: "alice", word: "woman", kind: "person", file: "cast/alice.png" },
  { name: "my_cup", word: "my cup", kind: "object", file: "cup.jpg" },
];
const loader = (graph, references = LIST, inputs = []) =>
  graph.add("MagrefLoadReferences", { widgets: { references }, inputs: ["references", ...inputs] });
const binder = (graph) => graph.add("MagrefBindSubjects", { inputs: ["references"] });
const names = (node) => findSubjects(node)?.map(({ name }) => name) ?? null;

test("subjects are those of the gallery that are in use, with the words that stand for them", () => {
  const graph = new Graph();
  const node = binder(graph);
  graph.link(loader(graph), 0, node, "references");
  assert.deepEqual(findSubjects(node), FOUND);
});

test("they are found through every node that hands them on, reroutes, bypassed nodes and a canvas", () => {
  const graph = new Graph();
  const node = binder(graph);
  let last = loader(graph);
  for (const [type, more] of [
    ["MagrefAutoMaskSubject", {}],
    ["Reroute", { isVirtualNode: true }],
    ["MagrefDecorrelateReferences", {}],
    ["MagrefDecorrelateReferences", { mode: 4 }],
    ["MagrefBuildMaskedCanvas", {}],
  ]) {
    const next = graph.add(type, { inputs: ["references"], ...more });
    graph.link(last, 0, next, "references");
    last = next;
  }
  graph.link(last, 0, node, "references");
  assert.deepEqual(findSubjects(node), FOUND);
});

test("they are found from inside a subgraph", () => {
  const root = new Graph();
  const inner = new Graph(root);
  root.subgraphs.set("inner", inner);
  const node = binder(inner);
  inner.link(null, 0, node, "references");
  root.link(loader(root), 0, root.add("inner", { subgraph: inner, inputs: ["references"] }), "references");
  assert.deepEqual(findSubjects(node), FOUND);
});

test("pictures that come over links are subjects, those without an entry by the name of their socket", () => {
  const graph = new Graph();
  const node = binder(graph);
  const list = '[{"image": "image_2", "name": "eve", "word": "woman"}]';
  const loaded = loader(graph, list, ["images.image_1", "images.image_2"]);
  graph.link(graph.add("LoadImage", { widgets: { image: "a.png" } }), 0, loaded, "images.image_1");
  graph.link(graph.add("EmptyImage"), 0, loaded, "images.image_2");
  graph.link(loaded, 0, node, "references");
  assert.deepEqual(findSubjects(node), [
    { name: "eve", word: "woman", kind: "object" },
    { name: "image_1", word: "image 1", kind: "object", file: "a.png" },
  ]);
});

test("where the names cannot be known nothing is said of them", () => {
  const graph = new Graph();
  const node = binder(graph);
  assert.equal(names(node), null);
  graph.link(graph.add("SomethingElse"), 0, node, "references");
  assert.equal(names(node), null);
  for (const text of ["{", "[7]", '[{"file": "a.png", "name": "x/y"}]']) {
    graph.link(loader(graph, text), 0, node, "references");
    assert.equal(names(node), null, text);
  }
  const linked = loader(graph);
  graph.link(graph.add("SomethingElse"), 0, linked, "references");
  graph.link(linked, 0, node, "references");
  assert.equal(names(node), null);
  graph.link(loader(graph, ""), 0, node, "references");
  assert.deepEqual(names(node), []);
});
