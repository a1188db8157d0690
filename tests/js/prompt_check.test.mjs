import assert from "node:assert/strict";
import test from "node:test";

import { check, isBeingTyped } from "../../web/js/prompt/check.js";

const subjects = (...names) => names.map((name) => ({ name, word: name.replaceAll("_", " ") }));
const states = (prompt, who) => check(prompt, who).findings.map(({ state, subject, name }) => [state, who[subject]?.name ?? name]);

test("every subject is known by its mentions, by its plain word, or not named", () => {
  const who = subjects("girl", "mug", "robot");
  const { findings } = check("@girl takes the mugs, then @Girl leaves", who);
  assert.deepEqual(findings, [
    { state: "known", subject: 0, count: 2 },
    { state: "word", subject: 1, count: 0 },
    { state: "unused", subject: 2, count: 0 },
  ]);
});

test("what must be mended comes first, once, with the name that was meant", () => {
  const { findings } = check("@robto and @robto, @ and @nobody", subjects("robot"));
  assert.deepEqual(
    findings.map(({ state, name, suggestion }) => [state, name, suggestion]),
    [
      ["unknown", "robto", "robot"],
      ["nameless", "", null],
      ["unknown", "nobody", null],
      ["unused", undefined, undefined],
    ],
  );
});

test("a mention that fits two names is ambiguous, and so is a plain word of two subjects", () => {
  const { findings } = check("@red fox", subjects("red_fox", "red-fox"));
  assert.deepEqual(findings.map((one) => [one.state, one.subjects]), [["ambiguous", [0, 1]]]);
  const who = [{ name: "ann", word: "woman" }, { name: "eve", word: "woman" }];
  assert.deepEqual(states("a woman sits", who), [["twofold", "woman"], ["word", "ann"]]);
  assert.deepEqual(states("@ann sees a woman", who), [["known", "ann"], ["word", "eve"]]);
});

test("plain words are found whole, by the longest, through weights, and not in embeddings", () => {
  const who = subjects("fox", "red_fox");
  assert.deepEqual(states("a red fox", who), [["unused", "fox"], ["word", "red_fox"]]);
  assert.deepEqual(states("a foxy fo(x:1.2)", who)[0], ["word", "fox"]);
  assert.deepEqual(states("embedding:fox foxglove", who)[0], ["unused", "fox"]);
  assert.deepEqual(states("(fox:1.3), ((red fox))", who).map(([state]) => state), ["word", "word"]);
});

test("comments are not sent, and what is drawn by lot cannot be judged", () => {
  const who = subjects("girl");
  assert.deepEqual(states("// @nobody\n/* @nobody */ @girl", who), [["known", "girl"]]);
  assert.deepEqual(states("@{girl|robot}", who), [["word", "girl"]]);
  assert.deepEqual(states("{@girl|nobody}", who), [["known", "girl"]]);
});

test("a mention is not judged while it is being typed", () => {
  const [mention] = check("see @ro", subjects("robot")).mentions;
  assert.equal(isBeingTyped(mention, 7, ["robot"]), true);
  assert.equal(isBeingTyped(mention, 6, ["robot"]), false);
  assert.equal(isBeingTyped(mention, 7, ["girl"]), false);
});
