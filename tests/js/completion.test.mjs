import assert from "node:assert/strict";
import test from "node:test";

import { candidates, completion, isComplete, queryAt } from "../../web/js/prompt/completion.js";

const subjects = (...names) => names.map((name) => ({ name, word: name.replaceAll("_", " ") }));
/** The query of a prompt in which | is the caret. */
const query = (marked, who = []) => queryAt(marked.replace("|", ""), marked.indexOf("|"), who);

for (const [marked, text] of [
  ["@|", ""],
  ["see @gi|", "gi"],
  ["see @gi|rl now", "gi"],
  ["让@女|", "女"],
  ["(@gi|:1.2)", "gi"],
  ['@"red f|', "red f"],
  ["@“red f|", "red f"],
  ["@red f|", "red f"],
  ["@girl|", "girl"],
])
  test(`a name is being typed in ${marked}`, () => assert.equal(query(marked)?.text, text));

for (const marked of ["", "|", "me@gi|", "5@|", "\\@gi|", "@ |", "@ noon|", "@gi\nrl|", '@"red fox"|', "gi|@", "@" + "x".repeat(80) + "|"])
  test(`no name is being typed in ${marked.slice(0, 20)}`, () => assert.equal(query(marked), null));

test("names that begin so come first, then by a word, their own word, within, and in order", () => {
  const who = [...subjects("grey_mug", "mug", "big-mug", "smug", "milk_jug"), { name: "ann", word: "mug woman" }];
  const names = (text, used) => candidates(text, who, used).map((index) => who[index].name);
  assert.deepEqual(names("mug"), ["mug", "grey_mug", "big-mug", "ann", "smug", "milk_jug"]);
  assert.deepEqual(names("mu"), ["mug", "grey_mug", "big-mug", "ann", "smug", "milk_jug"]);
  assert.deepEqual(names("MUG W"), []);
  assert.deepEqual(names("grey m"), ["grey_mug"]);
  assert.deepEqual(names("xyz"), []);
});

test("without anything typed those come first that the prompt does not mention yet", () => {
  assert.deepEqual(candidates("", subjects("a", "b", "c"), new Set([0, 2])), [1, 0, 2]);
});

test("a name that stands there in full needs no list", () => {
  assert.deepEqual(candidates("Girl", subjects("girl", "robot")), []);
  assert.deepEqual(candidates("girl", subjects("girl", "girl_2")), [0, 1]);
  assert.deepEqual(candidates("girl ", subjects("girl", "girl_2")), [1]);
  assert.deepEqual(candidates("girl walks", subjects("girl", "girl_2")), []);
});

function complete(marked, name, ...names) {
  const prompt = marked.replace("|", "");
  const who = subjects(...names);
  const { begin, end, text } = completion(query(marked, who), names.indexOf(name), who, prompt);
  return `${prompt.slice(0, begin)}${text}|${prompt.slice(end)}`;
}

test("what is typed is replaced by the mention, and a name with spaces stands in quotes", () => {
  assert.equal(complete("see @gi|", "girl", "girl"), "see @girl |");
  assert.equal(complete("see @gi| run", "girl", "girl"), "see @girl| run");
  assert.equal(complete("see @g|irl, run", "girl", "girl"), "see @girl|, run");
  assert.equal(complete("see @red f|", "red fox", "red fox"), 'see @"red fox" |');
  assert.equal(complete('see @"re|d" run', "red fox", "red fox"), 'see @"red fox"| run');
  assert.equal(complete("让@女|拿着", "女孩", "女孩"), "让@女孩|");
  assert.equal(complete("see @re| fox", "red", "red", "red_fox"), 'see @"red"| fox');
});

test("the full stop behind a name is the text's, and nothing is offered there", () => {
  const who = subjects("puppet", "puppet-2", "red.fox", "red");
  assert.deepEqual(candidates("puppet", who), [0, 1]);
  assert.deepEqual(candidates("puppet-", who), [0, 1]);
  for (const text of ["puppet.", "Puppet.", "puppet. ", "puppet...", "red."]) assert.deepEqual(candidates(text, who), [], text);
  assert.deepEqual(candidates("red.f", who), [2]);
});

test("a name that is complete at the caret leaves Enter and Tab to the text", () => {
  const who = subjects("puppet", "puppet-2", "red fox");
  const isDone = (marked) => isComplete(marked.replace("|", ""), marked.indexOf("|"), who);
  for (const marked of ["a @puppet|", "a @puppet |", "@puppet-2|", '@"red fox"|', "@red fox |"]) assert.ok(isDone(marked), marked);
  for (const marked of ["@|", "@pupp|", "@|puppet", "@puppet @|", "@puppet-|", '@"red fox|', "no|"])
    assert.ok(!isDone(marked), marked);
});

test("an @ that is put before a word asks for it where it is one of a name, and else replaces nothing", () => {
  const who = [...subjects("puppet", "grey_mug"), { name: "ann", word: "old woman" }];
  assert.equal(query("take the @|mug", who).text, "mug");
  assert.equal(complete("take the @|mug now", "grey_mug", "puppet", "grey_mug"), "take the @grey_mug| now");
  assert.equal(query("an @|woman", who).text, "woman");
  assert.deepEqual(query("take @|a mug", who), { begin: 5, end: 6, text: "" });
  assert.equal(complete("take @|the mug", "puppet", "puppet", "grey_mug"), "take @puppet |the mug");
  assert.equal(complete("让@|拿着", "女孩", "女孩"), "让@女孩|拿着");
});
