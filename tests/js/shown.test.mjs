import assert from "node:assert/strict";
import test from "node:test";

import { cellsFor, pairs } from "../../web/js/editor/layout.js";
import { cellsOf } from "../../web/js/editor/shown.js";

const CANVAS = { width: 832, height: 480 };
const PICTURES = ["Ada", "Bo", "hall"].map((name) => ({
  name,
  kind: name === "hall" ? "background" : "object",
  width: 300,
  height: 500,
}));
const CELL = { x: 16, y: 16, width: 400, height: 448 };

function cells({ order = "official", placements = "", result = null, pictures = PICTURES, count = 3 } = {}) {
  return cellsOf({ settings: { ...CANVAS, order, placements, layout_seed: 0 }, pictures, count, result });
}

const resultWith = (...found) => ({ report: { subjects: found.map((cell) => ({ cell })) } });

test("the official cells are shown under boxes of one's own, and while no picture is known", () => {
  assert.deepEqual(cells({ placements: "[]" }), cellsFor(3, CANVAS));
  assert.deepEqual(cells({ pictures: [], count: 2 }), cellsFor(2, CANVAS));
  assert.deepEqual(cells(), cellsFor(3, CANVAS));
});

test("an order that gathers pictures or lays one behind the others has cells of its own", () => {
  for (const order of ["grouped", "behind"]) {
    const dealt = pairs(PICTURES, { ...CANVAS, order, seed: 0 });
    assert.deepEqual(
      cells({ order }),
      dealt.map(({ cell }) => cell),
    );
  }
  assert.equal(cells({ order: "behind" }).length, 3);
});

test("the server's cells are shown where the page cannot deal them, if it tells all of them", () => {
  const order = "fitted";
  assert.deepEqual(cells({ order, result: resultWith(CELL, CELL, CELL) }), [CELL, CELL, CELL]);
  assert.deepEqual(cells({ order, result: resultWith(CELL, null, CELL) }), cellsFor(3, CANVAS));
  assert.deepEqual(cells({ order }), cellsFor(3, CANVAS));
});
