import assert from "node:assert/strict";
import test from "node:test";

import { check } from "../../web/js/prompt/check.js";
import { addition } from "../../web/js/prompt/comments.js";

const WHO = [{ name: "girl", word: "girl" }];

for (const [prompt, expected] of [
  ["", "@girl"],
  ["  ", "@girl"],
  ["waves", "waves @girl"],
  ["waves \n ", "waves @girl"],
  ["waves // later: @girl", "waves @girl // later: @girl"],
  ["waves/* much */\n", "waves @girl/* much */\n"],
  ["waves /* much */ by", "waves /* much */ by @girl"],
  ["// first line\nwaves", "// first line\nwaves @girl"],
  ["// nothing else", "@girl // nothing else"],
])
  test(`a mention is added where it is sent: ${JSON.stringify(prompt)}`, () => {
    const { begin, end, text } = addition(prompt, "@girl");
    const written = prompt.slice(0, begin) + text + prompt.slice(end);
    assert.equal(written, expected);
    assert.deepEqual(check(written, WHO).findings, [{ state: "known", subject: 0, count: 1 }]);
  });
