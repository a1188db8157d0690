/** Letters and words as Python sees them. No DOM, no host. */

/** White space, as Python's `\s`; for use inside the brackets of an expression. */
export const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const ENDS = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "gu");
/** What Python's `str.isdigit` knows: decimal digits, and those in circles and indices. */
const DIGIT = new RegExp(
  "[\\p{Nd}\\xb2\\xb3\\xb9\\u1369-\\u1371\\u19da\\u2070\\u2074-\\u2079\\u2080-\\u2089\\u2460-\\u2468\\u2474-\\u247c" +
    "\\u2488-\\u2490\\u24ea\\u24f5-\\u24fd\\u24ff\\u2776-\\u277e\\u2780-\\u2788\\u278a-\\u2792\\u{10a40}-\\u{10a43}" +
    "\\u{10e60}-\\u{10e68}\\u{11052}-\\u{1105a}\\u{1f100}-\\u{1f10a}]",
  "u",
);
/** The mark that comes last in canonical order: any other mark goes before it. */
const LAST_MARK = "\u0345";

/** A text without white space at its ends, as Python's `str.strip`. */
export const strip = (text) => text.replace(ENDS, "");

/** A text in which upper and lower case do not count, as Python's `str.casefold` for names in use. */
export const folded = (text) => text.toLowerCase().replace(/[ßſς]/g, (letter) => ({ ß: "ss", ſ: "s", ς: "σ" })[letter]);

/** A text with every sign quoted that means something in an expression. */
export const quoted = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

/** The letter before a place, and the one behind it; empty at the ends. */
export function around(text, place) {
  const before = text.slice(Math.max(0, place - 2), place);
  const letter = [...before].at(-1) ?? "";
  return [letter, place < text.length ? String.fromCodePoint(text.codePointAt(place)) : ""];
}

/** Whether the letters before and after a place belong to one word. */
export function joins(text, place) {
  return place > 0 && place < text.length && around(text, place).every(isSpaced);
}

/** Whether a letter is a digit, a mark, or of a script that has capitals, and thus spaces. */
export function isSpaced(letter) {
  return letter.toLowerCase() !== letter.toUpperCase() || DIGIT.test(letter) || isMark(letter);
}

function isMark(letter) {
  return letter === LAST_MARK || !`${LAST_MARK}${letter}`.normalize("NFD").startsWith(LAST_MARK);
}

/**
 * A text in composed form (NFC), and where each of its units stands in the text as typed.
 * @param {string} typed
 * @returns {{text: string, place: function(number): number}}
 */
export function composed(typed) {
  if (typed.normalize("NFC") === typed) return { text: typed, place: (at) => at };
  const places = [];
  let text = "";
  for (const { segment, index } of new Intl.Segmenter().segment(typed)) {
    const part = segment.normalize("NFC");
    // Inside a letter that was composed every place is its beginning.
    for (let at = 0; at < part.length; at++) places.push(index + (part === segment ? at : 0));
    text += part;
  }
  places.push(typed.length);
  return { text, place: (at) => places[at] };
}
