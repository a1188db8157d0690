import assert from "node:assert/strict";
import test from "node:test";

import { act } from "../../web/js/editor/actions.js";
import { fromText } from "../../web/js/editor/placements.js";

const PICTURES = new Map(
  [
    { name: "cat", kind: "object", width: 100, height: 100 },
    { name: "beach", kind: "background", width: 200, height: 100 },
  ].map((picture) => [picture.name, picture]),
);
const PLACEMENTS = [
  { reference: "cat", x: 0, y: 20, width: 60, height: 60 },
  { reference: "beach", x: 100, y: 40, width: 80, height: 40 },
];
const situation = (selected) => ({
  settings: { width: 200, height: 120, order: "official", layout_seed: 4294967295 },
  placements: PLACEMENTS,
  pictures: PICTURES,
  selected,
});
const placed = (action, selected) => fromText(act(action, situation(selected)).placements);

test("Fill covers the cell of a picture, and the canvas behind all others with a background", () => {
  assert.deepEqual(placed("fill", "cat"), [{ reference: "cat", x: 0, y: 0, width: 120, height: 120 }, PLACEMENTS[1]]);
  assert.deepEqual(placed("fill", "beach"), [{ reference: "beach", x: 0, y: 10, width: 200, height: 100 }, PLACEMENTS[0]]);
});

test("Fit and Centre keep to the cell and to the order", () => {
  assert.deepEqual(placed("fit", "beach"), [PLACEMENTS[0], { reference: "beach", x: 100, y: 35, width: 100, height: 50 }]);
  assert.deepEqual(placed("centre", "cat"), [{ ...PLACEMENTS[0], x: 20, y: 30 }, PLACEMENTS[1]]);
});

test("layouts of the whole leave no box of one's own, and the last seed is followed by the first", () => {
  assert.deepEqual(act("official", situation(null)), { placements: "", order: "official" });
  assert.deepEqual(act("shuffle", situation(null)), { placements: "", order: "official", layout_seed: 0 });
  assert.deepEqual(act("arrange", situation(null)), { placements: "", order: "fitted" });
  assert.equal(act("fit", situation(null)), null);
});
