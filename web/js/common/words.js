/** Sentences in the user's language, with values put in. */

/**
 * Put values into a sentence.
 * @param {string} sentence - with places such as {name}; a place without a value stays as it is.
 * @param {Object<string, string|number>} values
 * @returns {string} plain text; show it as text only.
 */
export function fill(sentence, values = {}) {
  return sentence.replace(/\{(\w+)\}/g, (place, key) => (Object.hasOwn(values, key) ? String(values[key]) : place));
}

/**
 * The function by which a page asks for its sentences.
 * @param {Object<string, string>} english - all of them, by key.
 * @param {Object<string, string>} [translated] - those that are known in the user's language.
 * @returns {(key: string, values?: Object) => string}
 */
export function speaker(english, translated = {}) {
  return (key, values) => fill(translated[key] ?? english[key] ?? key, values);
}

/**
 * What the pack's locale files say in the user's language; nothing where they cannot be had.
 * @param {Object} api - ComfyUI's.
 * @param {string} locale - such as "zh".
 * @param {string} part - of the pack, such as "gallery".
 * @returns {Promise<Object<string, string>>}
 */
export async function loadWords(api, locale, part) {
  try {
    const answer = await api.fetchApi("/i18n");
    const known = await answer.json();
    return known[locale]?.magref?.[part] ?? {};
  } catch {
    return {};
  }
}
