/** The list of references: text to entries and back, names, and every change of the list. No DOM, no host. */

/**
 * @typedef {Object} Entry - one subject.
 * @property {string} [file] - in the input folder; or `image`, the socket that carries the picture.
 * @property {string} [image]
 * @property {string} name
 * @property {"person"|"object"|"background"} kind
 * @property {string} [word] - what stands for @name in the prompt; its name if left out.
 * @property {string[]} photos - further files of the same subject.
 * @property {boolean} off - kept, but not used.
 * @property {boolean} keep_whole - not cut out unless it is named there.
 *
 * @typedef {Object} Problem - a sentence of the word list and what stands in it.
 * @property {string} key
 * @property {Object<string, string|number>} [values]
 */

export const KINDS = ["person", "object", "background"];
export const MAX_PICTURES = 16;
export const MAX_NAME_LENGTH = 64;

const TEXTS = ["file", "image", "name", "kind", "word"];
const SWITCHES = ["off", "keep_whole"];
const FIELDS = [...TEXTS, ...SWITCHES, "photos"];

/** What Python's `str.isprintable` refuses: control characters and every white space but the blank. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;

/**
 * Read the value of the node. The server reads it by the same rules.
 * @param {string} text - JSON; an empty text is an empty list.
 * @returns {{entries: Entry[], problem: Problem|null}} no entries where there is a problem.
 */
export function parseEntries(text) {
  let items = [];
  try {
    if (text.trim()) items = JSON.parse(text);
  } catch (error) {
    return { entries: [], problem: { key: "notJson", values: { reason: error.message } } };
  }
  if (!Array.isArray(items)) return { entries: [], problem: { key: "noList" } };
  for (const [index, item] of items.entries()) {
    const problem = shapeProblem(item, index + 1);
    if (problem) return { entries: [], problem };
  }
  return { entries: items.map(toEntry), problem: null };
}

function shapeProblem(item, number) {
  if (item === null || typeof item !== "object" || Array.isArray(item))
    return { key: "noEntry", values: { number, shown: shorten(JSON.stringify(item)) } };
  const fields = Object.keys(item);
  const unknown = fields.find((field) => !FIELDS.includes(field));
  if (unknown !== undefined)
    return { key: "unknownField", values: { number, field: shorten(unknown), fields: FIELDS.join(", ") } };
  const wrong = fields.find((field) => !fits(field, item[field]));
  if (wrong) {
    const values = { number, field: wrong, shown: shorten(JSON.stringify(item[wrong])) };
    return { key: wrong === "photos" ? "noPhotos" : SWITCHES.includes(wrong) ? "noSwitch" : "noText", values };
  }
  if ("file" in item === "image" in item) return { key: "noPicture", values: { number } };
  if ("kind" in item && !KINDS.includes(item.kind))
    return { key: "unknownKind", values: { number, kind: shorten(item.kind), kinds: KINDS.join(", ") } };
  return null;
}

function fits(field, value) {
  if (TEXTS.includes(field)) return typeof value === "string";
  if (SWITCHES.includes(field)) return typeof value === "boolean";
  return Array.isArray(value) && value.every((photo) => typeof photo === "string");
}

function toEntry(item) {
  const { file, image, name, kind = "object", word, photos = [], off = false, keep_whole = false } = item;
  const source = file === undefined ? { image } : { file };
  const said = word === undefined ? {} : { word };
  return { ...source, name: name ?? stem(file ?? image), kind, ...said, photos: [...photos], off, keep_whole };
}

/**
 * Write the value of the node: one entry in each line, without what is as by default.
 * @param {Entry[]} entries
 * @returns {string} JSON that `parseEntries` reads.
 */
export function writeEntries(entries) {
  const lines = entries.map(({ photos, off, keep_whole, ...rest }) =>
    JSON.stringify({
      ...rest,
      ...(photos.length ? { photos } : {}),
      ...(off ? { off } : {}),
      ...(keep_whole ? { keep_whole } : {}),
    }),
  );
  return lines.length ? `[\n${lines.join(",\n")}\n]` : "[]";
}

/** A text cut to what fits into a sentence. */
export function shorten(text, length = 40) {
  const letters = [...String(text)];
  return letters.length <= length ? letters.join("") : `${letters.slice(0, length - 1).join("")}…`;
}

/** The file's name without folder and extension. */
export function stem(file) {
  const name = file.replace(/ \[input\]$/, "").split("/").pop();
  return name.replace(/(?<=.)\.[^.]*$/, "");
}

/**
 * What is wrong with a name by itself; the server's rules.
 * @param {string} name
 * @returns {Problem|null}
 */
export function nameProblem(name) {
  const length = [...name].length;
  if (!name.trim()) return { key: "nameEmpty" };
  if (length > MAX_NAME_LENGTH)
    return { key: "nameLong", values: { name: shorten(name, 20), length, most: MAX_NAME_LENGTH } };
  if (/[/\\]/.test(name) || UNPRINTABLE.test(name)) return { key: "nameSlash", values: { name } };
  if (name.includes(",")) return { key: "nameComma", values: { name } };
  if (name !== name.trim()) return { key: "nameSpace", values: { name } };
  return null;
}

/**
 * What is wrong with a word that stands for a subject in the prompt; the server's rules.
 * @param {string} word
 * @returns {Problem|null}
 */
export function wordProblem(word) {
  const length = [...word].length;
  const shown = shorten(word, 20);
  if (!word.trim()) return { key: "wordEmpty" };
  if (length > MAX_NAME_LENGTH) return { key: "wordLong", values: { word: shown, length, most: MAX_NAME_LENGTH } };
  return word.includes("@") || UNPRINTABLE.test(word) ? { key: "wordSign", values: { word: shown } } : null;
}

/** The names that an entry gives its pictures: its own, "<name> 2", "<name> 3" and so on. */
export function namesOf(entry) {
  return [entry.name, ...entry.photos.map((_, index) => `${entry.name} ${index + 2}`)];
}

/**
 * What is wrong with each entry: its word, its names by themselves, or beside those before it.
 * @param {Entry[]} entries
 * @returns {(Problem|null)[]} one for each entry; what is switched off has none.
 */
export function problemsOf(entries) {
  const taken = new Map();
  return entries.map((entry) => {
    if (entry.off) return null;
    let found = entry.word === undefined ? null : wordProblem(entry.word);
    for (const name of namesOf(entry)) {
      const other = taken.get(folded(name));
      found ??= nameProblem(name);
      if (other !== undefined) found ??= { key: "nameTaken", values: { name, other } };
      else taken.set(folded(name), name);
    }
    return found;
  });
}

function folded(name) {
  return name.toLowerCase().replaceAll("ß", "ss");
}

/**
 * A name for a new subject that no other has, also none of its photos.
 * @param {string} file - the name of the picture.
 * @param {Entry[]} entries - those that are there.
 */
export function newName(file, entries) {
  const blanked = [...stem(file)].map((letter) => (/[/\\,]/.test(letter) || UNPRINTABLE.test(letter) ? " " : letter));
  const cleaned = [...blanked.join("").replace(/ +/g, " ").trim()].slice(0, MAX_NAME_LENGTH - 4).join("").trim();
  const base = cleaned || "subject";
  const taken = new Set(entries.flatMap(namesOf).map(folded));
  let name = base;
  // With a dash: "name 2" is what a second photo of "name" is called.
  for (let number = 2; taken.has(folded(name)); number++) name = `${base}-${number}`;
  return name;
}

/** How many pictures the entries hold, with photos and sockets. */
export function countPictures(entries) {
  return entries.reduce((sum, entry) => sum + 1 + entry.photos.length, 0);
}

/**
 * The entries with a subject more at the end.
 * @param {Entry[]} entries
 * @param {string} file - in the input folder.
 * @param {string} [called] - the file's name where it came from; the subject is called after it.
 */
export function addFile(entries, file, called = file) {
  const entry = { file, name: newName(called, entries), kind: "object", photos: [], off: false, keep_whole: false };
  return [...entries, entry];
}

/** The entries with some fields of one changed. */
export function change(entries, index, fields) {
  return entries.map((entry, at) => (at === index ? { ...entry, ...fields } : entry));
}

/** The entries with another photo of one subject. */
export function addPhoto(entries, index, file) {
  return change(entries, index, { photos: [...entries[index].photos, file] });
}

/** The entries without one photo of a subject. */
export function removePhoto(entries, index, photo) {
  return change(entries, index, { photos: entries[index].photos.filter((_, at) => at !== photo) });
}

/** The entries without one. */
export function removeAt(entries, index) {
  return entries.filter((_, at) => at !== index);
}

/**
 * The entries with one moved.
 * @param {Entry[]} entries
 * @param {number} from - its place now.
 * @param {number} to - its place then; beyond either end means that end.
 */
export function move(entries, from, to) {
  const rest = removeAt(entries, from);
  const place = Math.max(0, Math.min(rest.length, to));
  return [...rest.slice(0, place), entries[from], ...rest.slice(place)];
}

/**
 * Give a subject another name.
 * @returns {{entries: Entry[], problem: Problem|null}} the entries as they were where there is a problem.
 */
export function rename(entries, index, name) {
  const renamed = change(entries, index, { name });
  const others = entries.filter((_, at) => at !== index && !entries[at].off);
  const problem = nameProblem(name) ?? problemsOf([...others, { ...renamed[index], off: false }]).at(-1);
  return problem ? { entries, problem } : { entries: renamed, problem: null };
}

/**
 * Give a subject another word for the prompt.
 * @param {string} word - an empty one is none: the name stands there then.
 * @returns {{entries: Entry[], problem: Problem|null}} the entries as they were where there is a problem.
 */
export function reword(entries, index, word) {
  const said = word.trim() || undefined;
  const problem = said === undefined ? null : wordProblem(said);
  return { entries: problem ? entries : change(entries, index, { word: said }), problem };
}

/**
 * All subjects as the server sees them: the list, then connected pictures that it does not name.
 * @param {Entry[]} entries
 * @param {string[]} sockets - connected ones, such as "image_1", in order.
 */
export function withSockets(entries, sockets) {
  const named = new Set(entries.map((entry) => entry.image));
  const found = sockets.filter((socket) => !named.has(socket));
  const plain = { kind: "object", off: false, keep_whole: false };
  return [...entries, ...found.map((image) => ({ image, name: image, photos: [], ...plain }))];
}
