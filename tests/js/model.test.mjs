import assert from "node:assert/strict";
import test from "node:test";

import { cellsFor } from "../../web/js/editor/layout.js";
import {
  centre,
  cellUnder,
  equalise,
  fill,
  fit,
  grow,
  guidesOf,
  inside,
  move,
  pick,
  repair,
  resize,
  restack,
} from "../../web/js/editor/model.js";

const CANVAS = { width: 832, height: 480 };
const CELLS = cellsFor(2, CANVAS);
const GUIDES = guidesOf(CELLS);
const BOX = { reference: "a", x: 100, y: 100, width: 200, height: 100 };
const within = ({ x, y, width, height }) =>
  x >= 0 && y >= 0 && width >= 1 && height >= 1 && x + width <= 832 && y + height <= 480;

test("a box moves by the way of the pointer when nothing snaps", () => {
  assert.deepEqual(move(BOX, { x: 3, y: -5 }, CANVAS), { ...BOX, x: 103, y: 95 });
});

test("a box that moves snaps to the grid of 16 pixels", () => {
  assert.deepEqual(move(BOX, { x: 50, y: 60 }, CANVAS, { guides: GUIDES }), { ...BOX, x: 144, y: 160 });
});

test("an edge or the centre near a cell's snaps there rather than to the grid", () => {
  assert.equal(move(BOX, { x: 117, y: 0 }, CANVAS, { guides: GUIDES }).x, 216); // its right edge on 416
  assert.equal(move(BOX, { x: 8, y: 0 }, CANVAS, { guides: GUIDES }).x, 108); // its centre on 208
});

test("no movement, however far, leaves the canvas", () => {
  for (const way of [-5000, 5000])
    for (const snap of [{}, { guides: GUIDES }])
      assert.ok(within(move(BOX, { x: way, y: way }, CANVAS, snap)));
});

test("dragging a corner keeps the shape and the opposite corner", () => {
  const larger = resize(BOX, "se", { x: 100, y: 50 }, CANVAS);
  assert.deepEqual(larger, { ...BOX, width: 300, height: 150 });
  const smaller = resize(BOX, "nw", { x: 100, y: 50 }, CANVAS);
  assert.deepEqual(smaller, { ...BOX, x: 200, y: 150, width: 100, height: 50 });
});

test("a dragged corner snaps to a cell's edge and to the grid", () => {
  const toCell = resize(BOX, "se", { x: 113, y: 56 }, CANVAS, { guides: GUIDES });
  assert.equal(toCell.x + toCell.width, 416);
  const toGrid = resize(BOX, "se", { x: 40, y: 20 }, CANVAS, { guides: GUIDES });
  assert.ok((toGrid.x + toGrid.width) % 16 === 0 || (toGrid.y + toGrid.height) % 16 === 0);
  assert.equal(toGrid.height, Math.round(toGrid.width / 2));
});

test("no corner leaves the canvas, turns over or vanishes", () => {
  for (const corner of ["nw", "ne", "sw", "se"])
    for (const x of [-3000, 0, 3000])
      for (const y of [-3000, 0, 3000]) {
        const box = resize(BOX, corner, { x, y }, CANVAS, { guides: GUIDES });
        assert.ok(within(box), `${corner} ${x} ${y}`);
        assert.ok(Math.min(box.width, box.height) >= 8);
        assert.ok(Math.abs(box.width / box.height - 2) < 0.1);
      }
});

test("growing keeps the middle and stops at the canvas", () => {
  assert.deepEqual(grow(BOX, 1.5, CANVAS), { ...BOX, x: 50, y: 75, width: 300, height: 150 });
  assert.deepEqual(grow(BOX, 99, CANVAS), { ...BOX, x: 0, y: 0, width: 832, height: 416 });
  assert.equal(grow(BOX, 0, CANVAS).height, 8);
});

test("centring, fitting and filling go by the cell that holds the middle", () => {
  const right = { ...BOX, x: 500 };
  assert.equal(cellUnder(right, CELLS), CELLS[1]);
  assert.deepEqual(centre(right, CELLS[1], CANVAS), { ...BOX, x: 524, y: 190 });
  const picture = { width: 100, height: 100 };
  assert.deepEqual(fit(right, picture, CELLS[1], CANVAS), { ...BOX, x: 416, y: 32, width: 416, height: 416 });
  assert.deepEqual(fill(right, picture, CELLS[1], CANVAS), { ...BOX, x: 352, y: 0, width: 480, height: 480 });
});

test("equal sizes have equal areas and their own shapes, all inside", () => {
  const pictures = new Map([
    ["a", { width: 100, height: 100 }],
    ["b", { width: 400, height: 100 }],
  ]);
  const boxes = [
    { reference: "a", x: 0, y: 0, width: 480, height: 480 },
    { reference: "b", x: 500, y: 10, width: 40, height: 10 },
  ];
  const made = equalise(boxes, pictures, CANVAS);
  assert.ok(made.every(within));
  const [one, other] = made.map(({ width, height }) => width * height);
  assert.ok(Math.abs(one / other - 1) < 0.02);
  assert.ok(Math.abs(made[1].width / made[1].height - 4) < 0.05);
});

test("equal sizes shrink to what the longest picture can take", () => {
  const pictures = new Map([
    ["a", { width: 100, height: 100 }],
    ["b", { width: 2000, height: 10 }],
  ]);
  const boxes = ["a", "b"].map((reference) => ({ reference, x: 0, y: 0, width: 400, height: 400 }));
  const made = equalise(boxes, pictures, CANVAS);
  assert.ok(made.every(within));
  assert.equal(made[1].width, 832);
  assert.ok(made[0].width < 70);
});

test("pictures go forward and backward in the order of pasting, as far as there are others", () => {
  const boxes = ["a", "b", "c"].map((reference) => ({ ...BOX, reference }));
  const order = (list) => list.map(({ reference }) => reference).join("");
  assert.equal(order(restack(boxes, "a", 1)), "bac");
  assert.equal(order(restack(boxes, "a", 9)), "bca");
  assert.equal(order(restack(boxes, "a", -1)), "abc");
  assert.equal(order(restack(boxes, "nobody", 1)), "abc");
});

test("the topmost picture is picked", () => {
  const boxes = [BOX, { ...BOX, reference: "b", x: 200 }];
  assert.equal(pick(boxes, { x: 250, y: 150 }).reference, "b");
  assert.equal(pick(boxes, { x: 150, y: 150 }).reference, "a");
  assert.equal(pick(boxes, { x: 800, y: 10 }), undefined);
});

test("boxes off the canvas, of no size, doubled, unknown or missing are repaired and nothing sound is touched", () => {
  const pictures = ["a", "b", "c", "d"].map((name) => ({ name, kind: "object", width: 200, height: 100 }));
  const made = repair(
    [
      { reference: "a", x: 10, y: 20, width: 300, height: 77 },
      { reference: "b", x: -900, y: 9000, width: 2000, height: 1000 },
      { reference: "c", x: 0, y: 0, width: 0, height: -4 },
      { reference: "a", x: 0, y: 0, width: 10, height: 10 },
      { reference: "stranger", x: 0, y: 0, width: 10, height: 10 },
    ],
    pictures,
    CANVAS,
  );
  assert.deepEqual(made[0], { reference: "a", x: 10, y: 20, width: 300, height: 77 });
  assert.deepEqual(made.map(({ reference }) => reference), ["a", "b", "c", "d"]);
  assert.deepEqual(made[1], { reference: "b", x: 0, y: 64, width: 832, height: 416 });
  assert.ok(made.every(within));
});

test("a box larger than the canvas is cut down to it", () => {
  assert.deepEqual(inside({ x: 5, y: 5, width: 2000, height: 9 }, CANVAS), { x: 0, y: 5, width: 832, height: 9 });
});
