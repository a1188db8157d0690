import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import * as list from "../../web/js/gallery/entries.js";

const TABLE = JSON.parse(readFileSync(new URL("../reference_lists.json", import.meta.url), "utf-8"));
const entry = (name, more = {}) => ({
  file: `${name}.png`,
  name,
  kind: "object",
  photos: [],
  off: false,
  keep_whole: false,
  ...more,
});
const names = (entries) => entries.map(({ name }) => name);

for (const { text, names: expected } of TABLE)
  test(`the page reads as the server does: ${text.slice(0, 80)}`, () => {
    const { entries, problem } = list.parseEntries(text);
    const isGood = !problem && list.problemsOf(entries).every((found) => found === null);
    assert.equal(isGood, expected !== null);
    if (isGood) assert.deepEqual(entries.filter(({ off }) => !off).flatMap(list.namesOf), expected);
  });

test("what is written is read as the same", () => {
  const entries = [
    entry("alice", { kind: "person", photos: ["side.png"], keep_whole: true }),
    { ...entry("ball", { off: true }), file: undefined, image: "image_2" },
    entry("eve", { word: "woman" }),
  ].map((made) => JSON.parse(JSON.stringify(made)));
  assert.deepEqual(list.parseEntries(list.writeEntries(entries)), { entries, problem: null });
  assert.equal(list.writeEntries([]), "[]");
});

test("what is as by default is not written", () => {
  assert.deepEqual(JSON.parse(list.writeEntries([entry("cup")])), [{ file: "cup.png", name: "cup", kind: "object" }]);
});

test("text that cannot be read gives a sentence and no entries", () => {
  for (const [text, key] of [
    ["[{", "notJson"],
    ["{}", "noList"],
    ['["a.png"]', "noEntry"],
    ['[{"path": "a"}]', "unknownField"],
    ['[{"file": 1}]', "noText"],
    ['[{"file": "a", "off": 1}]', "noSwitch"],
    ['[{"file": "a", "photos": {}}]', "noPhotos"],
    ["[{}]", "noPicture"],
    ['[{"file": "a", "kind": "hero"}]', "unknownKind"],
  ]) {
    const { entries, problem } = list.parseEntries(text);
    assert.deepEqual([entries, problem.key], [[], key]);
  }
});

test("a new subject is called like its file, without what names cannot hold", () => {
  assert.equal(list.newName("cast/Alice in red.png", []), "Alice in red");
  assert.equal(list.newName("a,b\\c\u0007d.png", []), "a b c d");
  assert.equal(list.newName(",.png", []), "subject");
  const long = list.newName(`${"x".repeat(300)}.png`, []);
  assert.equal(list.nameProblem(long), null);
  for (const odd of ["\ud83d\ude3a".repeat(70), "\u00a0", "   ", '"><img src=x onerror=alert(1)>'])
    assert.equal(list.nameProblem(list.newName(`${odd}.png`, [])), null);
});

test("two pictures of the same name become two subjects of different names", () => {
  let entries = [];
  for (let count = 0; count < 3; count++) entries = list.addFile(entries, "alice.png");
  assert.deepEqual(names(entries), ["alice", "alice-2", "alice-3"]);
  assert.deepEqual(list.problemsOf(entries), [null, null, null]);
});

test("a subject is called as its file was where it came from", () => {
  const [entry] = list.addFile([], "alice (1).png", "alice.png");
  assert.deepEqual([entry.file, entry.name], ["alice (1).png", "alice"]);
});

test("a new name is none that a photo of another subject has", () => {
  const entries = [entry("cup", { photos: ["side.png"] })];
  assert.equal(list.newName("cup 2.png", entries), "cup 2-2");
});

test("a name that another has is refused and the old one kept", () => {
  const entries = [entry("alice"), entry("bob"), entry("eve", { photos: ["side.png"] })];
  for (const [index, name, key] of [
    [1, "ALICE", "nameTaken"],
    [0, "eve 2", "nameTaken"],
    [0, "x".repeat(300), "nameLong"],
    [0, "", "nameEmpty"],
    [0, "a/b", "nameSlash"],
    [0, "a,b", "nameComma"],
    [0, "a ", "nameSpace"],
  ]) {
    const renamed = list.rename(entries, index, name);
    assert.equal(renamed.problem.key, key);
    assert.equal(renamed.entries, entries);
  }
  assert.deepEqual(names(list.rename(entries, 1, "Bob").entries), ["alice", "Bob", "eve"]);
});

test("a name of one that is switched off may be used again", () => {
  const entries = [entry("alice", { off: true }), entry("bob")];
  assert.equal(list.rename(entries, 1, "alice").problem, null);
});

test("moving keeps all others in order", () => {
  const entries = ["a", "b", "c", "d"].map((name) => entry(name));
  for (const [from, to, expected] of [
    [0, 2, "bcad"],
    [3, 0, "dabc"],
    [1, 1, "abcd"],
    [2, 99, "abdc"],
    [2, -5, "cabd"],
  ])
    assert.equal(names(list.move(entries, from, to)).join(""), expected);
  assert.equal(names(entries).join(""), "abcd");
});

test("photos are added and removed one by one, and counted", () => {
  let entries = [entry("a"), entry("b")];
  entries = list.addPhoto(list.addPhoto(entries, 1, "b2.png"), 1, "b3.png");
  assert.equal(list.countPictures(entries), 4);
  assert.deepEqual(list.namesOf(entries[1]), ["b", "b 2", "b 3"]);
  entries = list.removePhoto(entries, 1, 0);
  assert.deepEqual(entries[1].photos, ["b3.png"]);
  assert.deepEqual(names(list.removeAt(entries, 0)), ["b"]);
});

test("connected pictures that the list does not name come after it", () => {
  const entries = [entry("cup"), { ...entry("ball"), file: undefined, image: "image_2" }];
  const rows = list.withSockets(entries, ["image_1", "image_2", "image_3"]);
  assert.deepEqual(names(rows), ["cup", "ball", "image_1", "image_3"]);
});

test("a word is taken by the server's rules, and an empty one is none", () => {
  const entries = [entry("girl"), entry("mug", { word: "cup" })];
  assert.deepEqual(list.reword(entries, 0, " woman ").entries[0].word, "woman");
  const without = list.reword(entries, 1, "  ");
  assert.equal(without.problem, null);
  assert.ok(!list.writeEntries(without.entries).includes("word"));
  for (const [word, key] of [["a@b", "wordSign"], ["a\nb", "wordSign"], ["x".repeat(65), "wordLong"]]) {
    const { problem, entries: kept } = list.reword(entries, 0, word);
    assert.equal(problem.key, key);
    assert.equal(kept, entries);
    assert.equal(list.problemsOf([entry("girl", { word })])[0].key, key);
  }
  assert.equal(list.problemsOf([entry("girl", { word: " " })])[0].key, "wordEmpty");
  assert.equal(list.problemsOf([entry("girl", { word: "x".repeat(64) })])[0], null);
});
