import assert from "node:assert/strict";
import test from "node:test";

import { act } from "../../web/js/editor/actions.js";
import { cellsFor, pairs } from "../../web/js/editor/layout.js";
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
  cells: cellsFor(2, { width: 200, height: 120 }),
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

test("Shuffle keeps an order that the seed deals out, and leaves the others", () => {
  const orderOf = (order) => act("shuffle", { ...situation(null), settings: { order, layout_seed: 0 } }).order;
  assert.deepEqual(["grouped", "behind", "reading", "fitted"].map(orderOf), ["grouped", "behind", "official", "official"]);
});

const BIG = { width: 832, height: 480 };

/** Fit a picture of a layout; the cell in which it lay, and the box that it has then. */
function fitted(pictures, order, name) {
  const settings = { ...BIG, order, seed: 0, layout_seed: 0 };
  const drawn = pairs(pictures, settings);
  const { cell } = drawn.find(({ picture }) => picture.name === name);
  const placements = drawn.map(({ picture, cell: { x, y } }) => ({ reference: picture.name, x, y, width: 40, height: 40 }));
  const middle = { x: cell.x + cell.width / 2 - 20, y: cell.y + cell.height / 2 - 20 };
  const moved = placements.map((one) => (one.reference === name ? { ...one, ...middle } : one));
  const all = new Map(pictures.map((picture) => [picture.name, picture]));
  const cells = drawn.map((one) => one.cell);
  const values = act("fit", { settings, placements: moved, pictures: all, cells, selected: name });
  const { x, y, width, height } = fromText(values.placements).find(({ reference }) => reference === name);
  return { cell, box: { x, y, width, height } };
}

test("Fit keeps to the cells that are drawn: a subject's in the order grouped", () => {
  const photos = [1, 2, 3].map((number) => ({ name: `ann${number}`, subject: "ann", kind: "person", width: 50, height: 50 }));
  const { cell, box } = fitted([...photos, { name: "cup", kind: "object", width: 50, height: 50 }], "grouped", "cup");
  assert.equal(cell.width, 416);
  assert.deepEqual([box.width, box.height], [416, 416]);
});

test("Fit keeps to a subject's own cell in front of a background, also in the middle", () => {
  const who = ["girl", "robot", "fox"].map((name) => ({ name, kind: "person", width: 50, height: 50 }));
  const pictures = [{ name: "beach", kind: "background", width: 200, height: 100 }, ...who];
  for (const { name } of who) {
    const { cell, box } = fitted(pictures, "behind", name);
    const side = Math.min(cell.width, cell.height);
    assert.deepEqual([box.width, box.height], [side, side]);
    assert.equal(box.x, cell.x + Math.floor((cell.width - side) / 2));
  }
  assert.deepEqual(fitted(pictures, "behind", "beach").box, { x: 0, y: 32, width: 832, height: 416 });
});
