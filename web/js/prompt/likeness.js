/** How alike two names are; the measure of Python's difflib, so that page and server suggest the same. No DOM. */

import { folded } from "./letters.js";

const LEAST = 0.6;
/** Longer than this nothing can be alike enough: a name has 64 letters at most. */
const LONGEST = 150;

/**
 * The name that was probably meant.
 * @param {string} typed
 * @param {string[]} names
 * @returns {string|null} null if none is near.
 */
export function nearest(typed, names) {
  const wanted = [...folded(typed)];
  if (wanted.length > LONGEST) return null;
  const scored = names
    .map((name) => ({ name, key: folded(name), score: likeness([...folded(name)], wanted) }))
    .filter(({ score }) => score >= LEAST);
  scored.sort((one, other) => other.score - one.score || (one.key < other.key ? 1 : -1));
  return scored[0]?.name ?? null;
}

/** Twice the letters in common over all letters, of 0 to 1. */
function likeness(one, other) {
  const all = one.length + other.length;
  return all ? (2 * inCommon(one, other)) / all : 1;
}

/** Letters of the longest common part, and of those before and behind it in the same way. */
function inCommon(one, other) {
  const { at, start, length } = longestPart(one, other);
  if (!length) return 0;
  const before = inCommon(one.slice(0, at), other.slice(0, start));
  return length + before + inCommon(one.slice(at + length), other.slice(start + length));
}

function longestPart(one, other) {
  let best = { at: 0, start: 0, length: 0 };
  let row = [];
  for (let i = 0; i < one.length; i++) {
    const next = [];
    for (let j = 0; j < other.length; j++) {
      if (one[i] !== other[j]) continue;
      next[j] = (row[j - 1] ?? 0) + 1;
      if (next[j] > best.length) best = { at: i - next[j] + 1, start: j - next[j] + 1, length: next[j] };
    }
    row = next;
  }
  return best;
}
