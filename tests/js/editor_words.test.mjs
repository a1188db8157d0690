import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";

import { ENGLISH } from "../../web/js/editor/english.js";
import { say, translate } from "../../web/js/editor/words.js";

const FOLDER = new URL("../../web/js/editor/", import.meta.url);
const CODE = readdirSync(FOLDER)
  .filter((name) => name !== "english.js")
  .map((name) => readFileSync(new URL(name, FOLDER), "utf-8"))
  .join("\n");

test("every sentence that the editor asks for is there", () => {
  const asked = [...CODE.matchAll(/say\("(\w+)"/g)].map(([, key]) => key);
  assert.ok(asked.length > 20);
  for (const key of asked) assert.ok(key in ENGLISH, key);
});

test("every button, view and column has its word, and all but one column a hint", () => {
  const rows = [...CODE.matchAll(/\["(\w+)"(?:, true|, "(view\w+)"|, \(\{)?/g)].map(([, key, view]) => view ?? key);
  const words = rows.filter((key) => key in ENGLISH);
  assert.ok(words.length >= 20);
  for (const key of words) assert.ok(key === "picture" || `${key}Hint` in ENGLISH, key);
});

test("no sentence is there in vain", () => {
  for (const key of Object.keys(ENGLISH)) {
    const plain = key.replace(/Hint$/, "");
    const isAsked = CODE.includes(`"${key}"`) || CODE.includes(`"${plain}"`);
    assert.ok(isAsked || ["error", "warning"].includes(key), key); // these two are severities
  }
});

test("another language is spoken from when it is known, and what it lacks is said in English", () => {
  translate({ undo: "撤销" });
  assert.deepEqual([say("undo"), say("redo"), say("covered", { names: "a" })], ["撤销", "Redo", "More than half of a is covered."]);
  translate({});
  assert.equal(say("undo"), "Undo");
});
