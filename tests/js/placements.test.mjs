import assert from "node:assert/strict";
import test from "node:test";

import { History } from "../../web/js/editor/history.js";
import { act } from "../../web/js/editor/actions.js";
import { cellsFor } from "../../web/js/editor/layout.js";
import { complaint, covered, fromText, toText } from "../../web/js/editor/placements.js";

const CANVAS = { width: 832, height: 480 };
const BOX = { reference: "a", x: 0, y: 0, width: 100, height: 200 };
const SETTINGS = { ...CANVAS, order: "reading", layout_seed: 4294967295, background: "#ffffff", placements: "" };

test("placements are written as the server writes them, and read back", () => {
  const text = toText([{ ...BOX, reference: 'Zoë "z" </script>' }]);
  assert.equal(
    text,
    '{"version": 1, "placements": [{"reference": "Zoë \\"z\\" </script>", "x": 0, "y": 0, "width": 100, "height": 200}]}',
  );
  assert.deepEqual(fromText(text), [{ ...BOX, reference: 'Zoë "z" </script>' }]);
  assert.equal(fromText("  \n"), null);
});

const nonsense = {
  "{": /are not JSON: write them like/,
  "[]": /hold no list 'placements'/,
  null: /hold no list 'placements'/,
  '{"version": 1, "placements": {}}': /hold no list 'placements'/,
  '{"placements": []}': /are of version None, but only version 1/,
  '{"version": 2, "placements": []}': /are of version 2, but only version 1/,
  '{"version": 1, "placements": [7]}': /placement 1 names no reference/,
  '{"version": 1, "placements": [{"reference": "a", "x": NaN}]}': /are not JSON/,
  '{"version": 1, "placements": [{"reference": "a", "x": null, "y": 0, "width": 0.5, "height": "9"}]}':
    /placement 1 of 'a' has no whole number of pixels for x, width, height: correct it/,
  '{"version": 1, "placements": [{"reference": "a", "x": 1e999, "y": 0, "width": 5, "height": 9}]}': /for x: correct/,
};

for (const [text, sentence] of Object.entries(nonsense))
  test(`refused with a sentence: ${text}`, () => assert.throws(() => fromText(text), { message: sentence }));

test("what the server would refuse is said in one sentence", () => {
  const say = (...placements) => complaint(placements, ["a", "b"], CANVAS);
  const other = { ...BOX, reference: "b" };
  assert.equal(say(BOX, other), null);
  assert.match(say(BOX, { ...BOX, reference: "x" }), /placement 2 is for the reference 'x', which does not exist/);
  assert.match(say(BOX), /reference 'b' is placed 0 times.*add one for it/);
  assert.match(say(BOX, BOX, other), /reference 'a' is placed 2 times.*remove the others/);
  assert.match(say(BOX, { ...other, width: 0 }), /the box of 'b' is 0 x 200 pixels, but needs at least 1 x 1/);
  assert.match(say(BOX, { ...other, x: 800 }), /the box of 'b' spans x 800 to 900.*move or shrink/);
  assert.match(say({ ...BOX, y: -1 }, other), /the box of 'a' spans/);
});

test("boxes that overlap may be; only one that is mostly covered is named", () => {
  assert.deepEqual(covered([BOX, { ...BOX, reference: "b", x: 51 }]), []);
  assert.deepEqual(covered([BOX, { ...BOX, reference: "b", x: 49 }]), ["a"]);
});

test("official, shuffle and arrange leave the value empty", () => {
  const now = { settings: SETTINGS, placements: [BOX], pictures: new Map(), selected: null };
  assert.deepEqual(act("official", now), { placements: "", order: "official" });
  assert.deepEqual(act("shuffle", now), { placements: "", order: "official", layout_seed: 0 });
  assert.deepEqual(act("arrange", now), { placements: "", order: "fitted" });
});

test("a button for one picture does nothing without one, and changes only its box", () => {
  const picture = { name: "a", kind: "object", width: 10, height: 20 };
  const other = { ...BOX, reference: "b" };
  const now = {
    settings: SETTINGS,
    placements: [BOX, other],
    pictures: new Map([
      ["a", picture],
      ["b", { ...picture, name: "b" }],
    ]),
    cells: cellsFor(2, CANVAS),
  };
  for (const action of ["fit", "fill", "centre"]) {
    assert.equal(act(action, { ...now, selected: null }), null);
    const [changed, kept] = fromText(act(action, { ...now, selected: "a" }).placements);
    assert.notDeepEqual(changed, BOX);
    assert.deepEqual(kept, other);
  }
});

test("undo and redo give back what was, and a new change forgets what was undone", () => {
  const history = new History();
  history.note("a", "b");
  history.note("b", "b");
  history.note("b", "c");
  assert.equal(history.undo("c"), "b");
  assert.equal(history.undo("b"), "a");
  assert.equal(history.undo("a"), undefined);
  assert.equal(history.redo("a"), "b");
  history.note("b", "d");
  assert.equal(history.canRedo, false);
  assert.equal(history.undo("d"), "b");
});

test("the history keeps the last hundred changes", () => {
  const history = new History();
  for (let at = 0; at < 150; at++) history.note(at, at + 1);
  let now = 150;
  while (history.canUndo) now = history.undo(now);
  assert.equal(now, 50);
});
