/** What is known, unknown, unused or ambiguous in a prompt. No DOM, no host. */

import { withoutComments } from "./comments.js";
import { joins } from "./letters.js";
import { nearest } from "./likeness.js";
import { patternOf, readMentions } from "./mentions.js";

/**
 * @typedef {Object} Finding - one subject, or one thing that cannot be.
 * @property {"known"|"word"|"unused"|"unknown"|"ambiguous"|"nameless"|"twofold"} state - word: named by its plain word;
 *   twofold: a plain word of two subjects.
 * @property {number} [subject] - index; of known, word and unused.
 * @property {number} [count] - mentions of it.
 * @property {string} [name] - as typed; of unknown, ambiguous and twofold.
 * @property {string|null} [suggestion] - the name that was probably meant.
 * @property {number[]} [subjects] - those that may be meant.
 * @property {import("./mentions.js").Mention} [mention] - the first of them.
 */

const EMBEDDING = /embedding:\S+/g;
const WEIGHT = /:[+-]?\d*\.?\d+\)/g;

/**
 * Check a prompt.
 * @param {string} prompt - as typed.
 * @param {import("./mentions.js").Subject[]} subjects
 * @returns {{mentions: import("./mentions.js").Mention[], findings: Finding[]}} findings: what must be mended first,
 *   then every subject in order.
 */
export function check(prompt, subjects) {
  const text = withoutComments(prompt);
  // Which of {girl|robot} is meant is only drawn when the prompt is sent.
  const mentions = readMentions(text, subjects).filter(({ begin }) => text[begin + 1] !== "{");
  const { words, twofold } = plainWords(text, mentions, subjects);
  const findings = subjects.map((_, subject) => {
    const count = mentions.filter((one) => one.state === "known" && one.subjects[0] === subject).length;
    return { state: count ? "known" : words.has(subject) ? "word" : "unused", subject, count };
  });
  const wrong = [...problems(mentions, subjects), ...twofold];
  const doubtful = new Set(wrong.flatMap((one) => one.subjects));
  const kept = findings.filter(({ subject, state }) => state !== "unused" || !doubtful.has(subject));
  return { mentions, findings: [...wrong, ...kept] };
}

function problems(mentions, subjects) {
  const found = new Map();
  for (const mention of mentions.filter(({ state }) => state !== "known")) {
    const { state, name } = mention;
    if (found.has(`${state} ${name}`)) continue;
    const suggestion = state === "unknown" ? nearest(name, subjects.map((one) => one.name)) : null;
    found.set(`${state} ${name}`, { state, name, suggestion, subjects: mention.subjects, mention });
  }
  return [...found.values()];
}

/** Subjects without a mention that stand in the prompt by their word, and words of two such subjects. */
function plainWords(text, mentions, subjects) {
  const mentioned = new Set(mentions.flatMap((one) => one.subjects));
  const plain = unweighted(masked(text, mentions)).normalize("NFC");
  const parts = [];
  for (const [index, { word }] of subjects.entries())
    if (!mentioned.has(index)) parts.push(...placesOf(word, plain).map(([begin, end]) => ({ begin, end, index })));
  parts.sort((one, other) => one.begin - one.end - (other.begin - other.end) || one.begin - other.begin);
  const owners = new Map();
  const taken = new Uint8Array(plain.length);
  const twofold = new Map();
  for (const { begin, end, index } of parts) {
    const owner = owners.get(`${begin} ${end}`);
    if (owner !== undefined) {
      twofold.set(plain.slice(begin, end), [owner, index]);
    } else if (!taken.subarray(begin, end).includes(1)) {
      taken.fill(1, begin, end);
      owners.set(`${begin} ${end}`, index);
    }
  }
  const doubles = [...twofold].map(([name, both]) => ({ state: "twofold", name, subjects: both }));
  return { words: new Set(owners.values()), twofold: doubles };
}

/** Where a word stands alone, or in a plain plural. */
function placesOf(word, text) {
  const found = [...text.matchAll(patternOf(word, { end: "(?:es|s)?" }))].map((match) => [
    match.index,
    match.index + match[0].length,
  ]);
  return found.filter(([begin, end]) => end > begin && !joins(text, begin) && !joins(text, end));
}

/** A text in which mentions and names of embeddings cannot be found again. */
function masked(text, mentions) {
  let left = text;
  for (const { begin, end } of [...mentions].reverse()) left = `${left.slice(0, begin)}\0${left.slice(end)}`;
  return left.replace(EMBEDDING, "\0");
}

/** A text without the marks of prompt weights, which may stand within a word. */
function unweighted(text) {
  const kept = text.replace(/\\\(/g, "\x01").replace(/\\\)/g, "\x02");
  return kept.replace(WEIGHT, "").replace(/[()]/g, "").replaceAll("\x01", "(").replaceAll("\x02", ")");
}

/** Whether a mention is still being typed: the caret stands at its end, and some name goes on from there. */
export function isBeingTyped(mention, caret, names) {
  const typed = mention.name.toLowerCase();
  return mention.end === caret && mention.state !== "known" && names.some((name) => name.toLowerCase().includes(typed));
}
