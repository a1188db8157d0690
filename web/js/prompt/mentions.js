/** Mentions in a prompt, by the rules of magref_core/subjects/mentions.py. No DOM, no host. */

import { around, composed, folded, isSpaced, joins, quoted, SPACE, strip } from "./letters.js";

/**
 * @typedef {Object} Subject
 * @property {string} name
 * @property {string} word - what stands for it in the prompt.
 *
 * @typedef {Object} Mention - one @ and what is said behind it.
 * @property {number} begin - place of the @ in the prompt as typed.
 * @property {number} end
 * @property {string} name - as typed.
 * @property {"known"|"unknown"|"ambiguous"|"nameless"} state
 * @property {number[]} subjects - those that are meant: one if known, several if ambiguous.
 */

/** Opening mark -> closing mark around a name. */
export const QUOTES = { '"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u300c": "\u300d" };
const SEPARATORS = new RegExp(`[${SPACE}_\\-.]+`, "u");
/** Python takes the dotted and the dotless i for one where case does not count. */
const EVERY_I = "[iıİ]";
/** What somebody may have meant as a name. */
const TYPED = /[\p{L}\p{N}_][\p{L}\p{N}_-]*/uy;

/**
 * All mentions of a prompt in order.
 * @param {string} prompt - as typed.
 * @param {Subject[]} subjects
 * @returns {Mention[]} also those that the server refuses.
 */
export function readMentions(prompt, subjects) {
  const { text, place } = composed(prompt);
  const found = [];
  let passed = 0;
  for (let at = text.indexOf("@"); at >= 0; at = text.indexOf("@", at + 1)) {
    if (at < passed || !opensMention(text, at)) continue;
    const mention = readMention(text, at, subjects);
    passed = mention.end;
    found.push({ ...mention, begin: place(at), end: place(mention.end) });
  }
  return found;
}

/** Whether an @ begins a mention: not inside a word, as in an address, and no sign of its own as in \@. */
export function opensMention(text, at) {
  const [before] = around(text, at);
  return before !== "\\" && !isSpaced(before);
}

function readMention(text, at, subjects) {
  return readQuoted(text, at, subjects) ?? readPlain(text, at, subjects);
}

function readQuoted(text, at, subjects) {
  const closing = QUOTES[text[at + 1]];
  const last = closing ? text.indexOf(closing, at + 2) : -1;
  if (last < 0) return null;
  const name = text.slice(at + 2, last);
  const meant = strip(name);
  const fits = (one) => patternOf(one.name, { flags: "y", end: "$" }).test(meant);
  const exact = meant ? subjects.flatMap((one, index) => (fits(one) ? [index] : [])) : [];
  return { end: last + 1, name, state: meant ? stateOf(exact) : "nameless", subjects: exact };
}

function readPlain(text, at, subjects) {
  let end = 0;
  let longest = [];
  for (const [index, { name }] of subjects.entries()) {
    const pattern = patternOf(name, { flags: "y" });
    pattern.lastIndex = at + 1;
    const last = pattern.test(text) ? pattern.lastIndex : 0;
    if (last < Math.max(end, 1) || joins(text, last)) continue;
    longest = last > end ? [index] : [...longest, index];
    end = last;
  }
  if (end) return { end, name: text.slice(at + 1, end), state: stateOf(longest), subjects: longest };
  TYPED.lastIndex = at + 1;
  const typed = TYPED.exec(text)?.[0] ?? "";
  return { end: at + 1 + typed.length, name: typed, state: typed ? "unknown" : "nameless", subjects: [] };
}

function stateOf({ length }) {
  return length > 1 ? "ambiguous" : length ? "known" : "unknown";
}

/** An expression that finds a name, whatever separates its words. */
export function patternOf(name, { flags = "g", end = "" } = {}) {
  const parts = name.normalize("NFC").split(SEPARATORS).filter(Boolean);
  const body = parts.length ? parts.map(quoted).join(`[${SPACE}_\\-.]+`) : quoted(name);
  const dotted = body.replace(/[iIıİ]/gu, EVERY_I);
  return new RegExp(`(?:${dotted})${end}`, `${flags}iu`);
}

/** A name in which neither case nor what separates its words counts. */
export function plainName(name) {
  return folded(name.normalize("NFC")).split(SEPARATORS).filter(Boolean).join(" ");
}

/**
 * How a subject is mentioned, so that it is read as that subject and nothing else.
 * @param {number} index - of the subject.
 * @param {Subject[]} subjects
 * @param {string} [after] - what follows.
 * @returns {string} with a space behind it where the name would run on.
 */
export function mentionOf(index, subjects, after = "") {
  const { name } = subjects[index];
  const inQuotes = Object.entries(QUOTES).map(([opening, closing]) => `@${opening}${name}${closing}`);
  const hasSpace = new RegExp(`[${SPACE}]`, "u").test(name);
  const forms = hasSpace ? [...inQuotes, `@${name}`] : [`@${name}`, ...inQuotes];
  const next = after.slice(0, 200);
  const spaced = forms.flatMap((form) => [form, `${form} `]);
  const isRead = (form) => {
    const [mention] = readMentions(form + next, subjects);
    return mention?.subjects.length === 1 && mention.subjects[0] === index && mention.end === form.trimEnd().length;
  };
  return spaced.find(isRead) ?? forms[0];
}
