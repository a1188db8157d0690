/** Which names fit what is being typed behind an @, and what is put there. No DOM, no host. */

import { SPACE, strip } from "./letters.js";
import { mentionOf, opensMention, plainName, QUOTES, readMentions } from "./mentions.js";

/**
 * @typedef {Object} Query - a name that is being typed.
 * @property {number} begin - place of its @.
 * @property {number} end - up to where it is replaced.
 * @property {string} text - what is typed of the name.
 */

const MOST_TYPED = 64;
const REST = /^[\p{L}\p{N}\p{M}_-]*/u;
const BLANK = new RegExp(`[${SPACE}]`, "u");
const STOP = new RegExp(`[.][${SPACE}]*$`, "u");

/**
 * The name that is being typed at the caret.
 * @param {string} prompt
 * @param {number} caret
 * @param {import("./mentions.js").Subject[]} subjects
 * @returns {Query|null} for an @ that was put before a word, the word where it is one of a name or its word.
 */
export function queryAt(prompt, caret, subjects) {
  const begin = prompt.lastIndexOf("@", caret - 1);
  if (begin < 0 || caret < 1 || caret - begin > MOST_TYPED + 2 || !opensMention(prompt, begin)) return null;
  const typed = prompt.slice(begin + 1, caret);
  if (/[\n\r]/.test(typed)) return null;
  const closing = QUOTES[typed[0]];
  if (closing) return typed.includes(closing, 1) ? null : quotedQuery(prompt, begin, caret, closing);
  if (BLANK.test(typed[0] ?? "")) return null;
  const [rest] = REST.exec(prompt.slice(caret));
  if (typed) return { begin, end: caret + rest.length, text: typed };
  const isMeant = subjects.some(({ name, word }) => [name, word].some((said) => holds(said, rest)));
  return isMeant ? { begin, end: caret + rest.length, text: rest } : { begin, end: caret, text: "" };
}

/** Whether a name has a word, or several, whole. */
function holds(name, words) {
  const plain = plainName(words);
  return plain !== "" && ` ${plainName(name)} `.includes(` ${plain} `);
}

/** Up to the closing mark where there is one in reach. */
function quotedQuery(prompt, begin, caret, closing) {
  const line = /^[^\n\r@]*/.exec(prompt.slice(caret, caret + MOST_TYPED))[0];
  const last = line.indexOf(closing);
  return { begin, end: last < 0 ? caret : caret + last + 1, text: prompt.slice(begin + 2, caret) };
}

/**
 * The subjects that fit a query, the best first.
 * @param {string} text - what is typed.
 * @param {import("./mentions.js").Subject[]} subjects
 * @param {Set<number>} [used] - those that the prompt mentions already; without anything typed they come last.
 * @returns {number[]} indices; none if nothing fits, if the one that fits stands there already, or behind the full
 *   stop after a name.
 */
export function candidates(text, subjects, used = new Set()) {
  const plain = plainName(text);
  if (!plain) {
    const all = subjects.map((_, index) => index);
    return [...all.filter((index) => !used.has(index)), ...all.filter((index) => used.has(index))];
  }
  if (STOP.test(text) && subjects.some(({ name }) => plainName(name) === plain)) return [];
  const isPhrase = BLANK.test(text);
  const typed = BLANK.test(text.at(-1)) ? `${plain} ` : plain;
  const ranked = subjects.map((subject, index) => ({ index, rank: rankOf(typed, subject) }));
  // Behind a space only a name that goes on is meant.
  const fitting = ranked.filter(({ rank }) => rank <= (isPhrase ? 0 : 4)).sort((one, other) => one.rank - other.rank);
  const isDone = fitting.length === 1 && plainName(subjects[fitting[0].index].name) === typed;
  return isDone ? [] : fitting.map(({ index }) => index);
}

/**
 * Whether a mention that is known ends at the caret, or before blanks there; what is typed next may be the text's.
 * @param {string} prompt
 * @param {number} caret
 * @param {import("./mentions.js").Subject[]} subjects
 * @returns {boolean}
 */
export function isComplete(prompt, caret, subjects) {
  const typed = prompt.slice(0, caret);
  const last = readMentions(typed, subjects).at(-1);
  return last?.state === "known" && strip(typed.slice(last.end)) === "";
}

/** 0: the name begins so, 1: one of its words does, 2: its word does, 3: it is within, 4: its letters are, in order. */
function rankOf(typed, { name, word }) {
  const plain = plainName(name);
  if (plain.startsWith(typed)) return 0;
  if (plain.includes(` ${typed}`)) return 1;
  const said = plainName(word);
  if (said.startsWith(typed) || said.includes(` ${typed}`)) return 2;
  if (plain.includes(typed)) return 3;
  return hasInOrder(plain, typed) ? 4 : Infinity;
}

function hasInOrder(text, letters) {
  let at = 0;
  for (const letter of letters) {
    at = text.indexOf(letter, at) + 1;
    if (!at) return false;
  }
  return true;
}

/**
 * What to put in place of what is typed.
 * @param {Query} query
 * @param {number} index - of the subject that was chosen.
 * @param {import("./mentions.js").Subject[]} subjects
 * @param {string} prompt
 * @returns {{begin: number, end: number, text: string}} the caret goes behind the text.
 */
export function completion({ begin, end }, index, subjects, prompt) {
  const after = prompt.slice(end);
  const text = mentionOf(index, subjects, after);
  return { begin, end, text: after ? text : withSpace(text) };
}

/** At the end of a prompt the next word may be typed at once. */
function withSpace(mention) {
  const isWord = /[\p{Lu}\p{Ll}\p{Nd}"'\u201d\u2019]$/u.test(mention);
  return isWord ? `${mention} ` : mention;
}
