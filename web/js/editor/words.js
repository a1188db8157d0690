/** The editor's sentences in the user's language. */

import { speaker } from "../common/words.js";
import { ENGLISH } from "./english.js";

let speak = speaker(ENGLISH);

/**
 * A text of the editor.
 * @param {string} key - of english.js.
 * @param {Object<string, string|number>} [values] - put into the sentence.
 * @returns {string} plain text; show it as text only.
 */
export function say(key, values) {
  return speak(key, values);
}

/**
 * Speak another language from now on; what stands on the page already stays.
 * @param {Object<string, string>} translated - key -> text.
 */
export function translate(translated) {
  speak = speaker(ENGLISH, translated);
}
