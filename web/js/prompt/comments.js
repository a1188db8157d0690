/** What of a prompt is sent, and where something is added to that. No DOM, no host. */

/** What ComfyUI takes out of a prompt before it is sent. */
const COMMENT = /\/\*[\s\S]*?\*\/|\/\/[^\n\r\u2028\u2029]*/g;

/** A prompt with blanks for its comments, so that every place stays what it is. */
export const withoutComments = (prompt) => prompt.replace(COMMENT, (found) => " ".repeat(found.length));

/**
 * How a mention is written behind the last word that is sent.
 * @param {string} prompt
 * @param {string} mention
 * @returns {{begin: number, end: number, text: string}} what to put in place of what; comments stay.
 */
export function addition(prompt, mention) {
  const begin = withoutComments(prompt).trimEnd().length;
  const isLast = !prompt.slice(begin).trim();
  const before = begin ? " " : "";
  return { begin, end: isLast ? prompt.length : begin, text: `${before}${mention}${isLast || begin ? "" : " "}` };
}
