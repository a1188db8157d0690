import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { arrange, cellsFor, gridFor } from "../../web/js/editor/layout.js";
import { PythonRandom } from "../../web/js/editor/random.js";

const CASES = JSON.parse(readFileSync(new URL("layouts.json", import.meta.url), "utf-8"));

test("the browser lays out exactly as the server", () => {
  assert.ok(CASES.length > 50);
  for (const { shapes, subjects, width, height, order, seed, boxes } of CASES) {
    const pictures = shapes.map(([w, h], index) => ({
      name: String(index),
      kind: index === 1 ? "background" : "object",
      subject: subjects[index] ?? undefined,
      width: w,
      height: h,
    }));
    const placed = arrange(pictures, { width, height, order, seed });
    assert.deepEqual(
      placed.map((p) => [Number(p.reference), p.x, p.y, p.width, p.height]),
      boxes,
      `${shapes.length} pictures on ${width} x ${height}, ${order} ${seed}`,
    );
  }
});

test("the shuffle is Python's, also for seeds of more than 32 bits", () => {
  const list = () => [0, 1, 2, 3, 4, 5, 6, 7];
  const drawn = [0, 7, 2 ** 40 + 3].map((seed) => new PythonRandom(seed).shuffle(list()).join(""));
  assert.deepEqual(drawn, ["41520376", "67240315", "51726403"]);
});

test("the generator goes on over the first block of 624 numbers", () => {
  const random = new PythonRandom(1);
  for (let drawn = 0; drawn < 1999; drawn++) random.next32();
  assert.equal(random.next32(), 1058062369);
});

test("grids are the official ones, and grow above eight", () => {
  assert.deepEqual(gridFor(0), { columns: 1, rows: 1 });
  assert.deepEqual(gridFor(5), { columns: 3, rows: 2 });
  assert.deepEqual(gridFor(16), { columns: 4, rows: 4 });
});

test("the last column and row take the pixels that are left over", () => {
  const cells = cellsFor(5, { width: 100, height: 65 });
  assert.deepEqual(cells.at(-1), { x: 66, y: 32, width: 34, height: 33 });
});

test("an order that only the server knows gives nothing", () => {
  assert.equal(arrange([], { width: 832, height: 480, order: "fitted", seed: 0 }), null);
});
