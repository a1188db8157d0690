import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { joins } from "../../web/js/prompt/letters.js";
import { nearest } from "../../web/js/prompt/likeness.js";
import { mentionOf, readMentions } from "../../web/js/prompt/mentions.js";

const TABLE = JSON.parse(readFileSync(new URL("../mentions.json", import.meta.url), "utf-8"));
const subjects = (names, words = {}) =>
  names.map((name) => ({ name, word: words[name] ?? name.replaceAll("_", " ") }));

/** What the text encoder is given, made from what the page has read. */
function bound(prompt, who) {
  const parts = [];
  let place = 0;
  for (const { begin, end, subjects: [index] } of readMentions(prompt, who)) {
    parts.push(prompt.slice(place, begin).replaceAll("\\@", "@"));
    parts.push(who[index].word.replace(/[()]/g, "\\$&"));
    place = end;
  }
  return [...parts, prompt.slice(place).replaceAll("\\@", "@")].join("").normalize("NFC");
}

for (const { prompt, names, words, text, mentions } of TABLE.filter((row) => "text" in row))
  test(`the page reads mentions as the server does: ${JSON.stringify(prompt)}`, () => {
    const who = subjects(names, words);
    const found = readMentions(prompt, who);
    assert.deepEqual(found.map(({ state }) => state), mentions.map(() => "known"));
    const said = found.map(({ begin, end, subjects: [index] }) => [names[index], prompt.slice(begin, end)]);
    assert.deepEqual(said, mentions);
    assert.equal(bound(prompt, who), text);
  });

for (const { prompt, names, refused, name, nearest: near } of TABLE.filter((row) => "refused" in row))
  test(`the page finds what the server refuses: ${JSON.stringify(prompt)}`, () => {
    const wrong = readMentions(prompt, subjects(names)).find(({ state }) => state !== "known");
    assert.equal(wrong.state, refused);
    assert.equal(wrong.name, name);
    if (refused === "unknown") assert.equal(nearest(name, names), near);
  });

test("places are those of the prompt as typed, whatever its composition", () => {
  const prompt = "e\u0301te\u0301 @cafe\u0301 et @cafe\u0301";
  const places = readMentions(prompt, subjects(["caf\u00e9"])).map(({ begin, end }) => [begin, end]);
  assert.deepEqual(places, [[6, 12], [16, 22]]);
});

test("reading goes on behind what is wrong", () => {
  const found = readMentions('@nobody, @girl, @"" and @robot', subjects(["girl", "robot"]));
  assert.deepEqual(found.map(({ state }) => state), ["unknown", "known", "nameless", "known"]);
});

test("every name can be mentioned so that it is read as that name", () => {
  const names = ["girl", "red fox", "red", "red_fox_2", 'the "old" cup', "o'neil", "女孩", "🐱", "a@b", "mug (big)", "..."];
  const who = subjects(names);
  for (const [index] of names.entries())
    for (const after of ["", "s run", " runs", "fox", "_2", ", then @girl", '" and "', "2", "的"]) {
      const [mention] = readMentions(mentionOf(index, who, after) + after, who);
      assert.deepEqual(mention.subjects, [index], `${mentionOf(index, who, after)}|${after}`);
    }
  assert.equal(mentionOf(1, who), '@"red fox"');
  assert.equal(mentionOf(0, who, "friend"), "@girl ");
  assert.equal(mentionOf(6, who, "的"), "@女孩");
});

test("letters of one word are told as Python tells them", () => {
  const cases = { "ab": true, "a1": true, "1²": true, "a\u0301b": true, "女孩": false, "a女": false, "a ": false, "a_": false };
  for (const [text, expected] of Object.entries(cases)) assert.equal(joins(text, text.length - 1), expected, text);
  assert.equal(joins("𐐨a", 2), true);
  assert.equal(joins("a", 0), false);
});
