import assert from "node:assert/strict";
import test from "node:test";

import { outputOf, Runs } from "../../web/js/common/runs.js";
import { isOfLayout, isOfList } from "../../web/js/editor/run.js";

test("what was noted of a run is found again by a copy of what the node sent, and no other", () => {
  const runs = new Runs();
  const sent = (name) => ({ magref_references: [{ filename: name }] });
  runs.note(sent("one.png"), { key: 1 });
  assert.deepEqual(runs.recall(sent("one.png")), { key: 1 });
  assert.equal(runs.recall(sent("two.png")), undefined);
  assert.equal(runs.recall(undefined), undefined);
  for (let number = 0; number < 100; number++) runs.note(sent(String(number)), {});
  assert.equal(runs.recall(sent("one.png")), undefined);
});

test("the output of a node in a subgraph is found under the subgraph's name", () => {
  const root = { id: "root" };
  root.rootGraph = root;
  const inner = { id: "inner", rootGraph: root };
  const outputs = { 3: "outside", "inner:3": "inside" };
  assert.equal(outputOf(outputs, { id: 3, graph: root }), "outside");
  assert.equal(outputOf(outputs, { id: 3, graph: inner }), "inside");
  assert.equal(outputOf(undefined, { id: 3, graph: root }), undefined);
});

const BOX = { x: 0, y: 0, width: 10, height: 20 };
const REPORT = { width: 64, height: 48, subjects: [{ reference: "cat", cell: null, box: BOX }] };
const placed = (box) => JSON.stringify({ version: 1, placements: [{ reference: "cat", ...BOX, ...box }] });

test("a run of another size or other boxes is not one of the layout that is set", () => {
  const now = { width: 64, height: 48, placements: "" };
  assert.equal(isOfLayout(REPORT, now), true);
  assert.equal(isOfLayout(REPORT, { ...now, placements: placed({}) }), true);
  assert.equal(isOfLayout(REPORT, { ...now, placements: placed({ x: 1 }) }), false);
  assert.equal(isOfLayout(REPORT, { ...now, height: 64 }), false);
});

test("a run of other pictures is not one of the list that is set", () => {
  const ran = [{ reference: "cat" }, { reference: "dog" }];
  assert.equal(isOfList(ran, [{ name: "cat" }, { name: "dog" }]), true);
  assert.equal(isOfList(ran, [{ name: "cat" }]), false);
  assert.equal(isOfList(ran, null), true);
});
