/** Placements as JSON, and what can be wrong with them, in the words of the server. */

const SIDES = ["x", "y", "width", "height"];
const EXAMPLE =
  '{"version": 1, "placements": [{"reference": "alice", "x": 0, "y": 0, "width": 100, "height": 200}]}';

/** A text that holds no placements. */
export class PlacementsError extends Error {}

/**
 * Write placements as the server writes them.
 * @param {import("./layout.js").Placement[]} placements - in the order of pasting.
 * @returns {string}
 */
export function toText(placements) {
  const entries = placements.map(
    ({ reference, x, y, width, height }) =>
      `{"reference": ${JSON.stringify(reference)}, "x": ${x}, "y": ${y}, "width": ${width}, "height": ${height}}`,
  );
  return `{"version": 1, "placements": [${entries.join(", ")}]}`;
}

/**
 * Read placements; whether they fit the pictures is for `complaint` to say.
 * @param {string} text - of the widget.
 * @returns {import("./layout.js").Placement[]|null} null for an empty text: the automatic layout.
 * @throws {PlacementsError} the text is not such JSON; the message is one sentence.
 */
export function fromText(text) {
  if (!text.trim()) return null;
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    throw new PlacementsError(`the placements are not JSON: write them like ${EXAMPLE}`);
  }
  const entries = document?.placements;
  if (!Array.isArray(entries))
    throw new PlacementsError(`the placements hold no list 'placements': write them like ${EXAMPLE}`);
  if (document.version !== 1)
    throw new PlacementsError(
      `the placements are of version ${JSON.stringify(document.version) ?? "None"}, but only version 1 can be ` +
        `read: write them like ${EXAMPLE}`,
    );
  return entries.map(readEntry);
}

/**
 * Why a text holds no placements.
 * @param {string} text
 * @returns {string|null} one sentence; null if it does, or is empty.
 */
export function unreadable(text) {
  try {
    fromText(text);
    return null;
  } catch (error) {
    if (error instanceof PlacementsError) return error.message;
    throw error;
  }
}

function readEntry(entry, index) {
  const reference = entry?.reference;
  if (typeof reference !== "string")
    throw new PlacementsError(
      `placement ${index + 1} names no reference: write the placements like ${EXAMPLE}`,
    );
  const wrong = SIDES.filter((side) => !Number.isInteger(entry[side]));
  if (wrong.length)
    throw new PlacementsError(
      `placement ${index + 1} of '${reference}' has no whole number of pixels for ${wrong.join(", ")}: correct it`,
    );
  const box = Object.fromEntries(SIDES.map((side) => [side, entry[side]]));
  return { reference, ...box };
}

/**
 * What the server would refuse.
 * @param {import("./layout.js").Placement[]} placements
 * @param {string[]} names - of the references.
 * @param {{width: number, height: number}} canvas - in pixels.
 * @returns {string|null} one sentence, or null if all is well.
 */
export function complaint(placements, names, canvas) {
  const stranger = placements.find(({ reference }) => !names.includes(reference));
  if (stranger)
    return (
      `placement ${placements.indexOf(stranger) + 1} is for the reference '${stranger.reference}', which does ` +
      `not exist: use one of ${names.map((name) => `'${name}'`).join(", ")}`
    );
  for (const name of names) {
    const times = placements.filter(({ reference }) => reference === name).length;
    if (times !== 1)
      return (
        `reference '${name}' is placed ${times} times, but every reference needs exactly one placement: ` +
        (times ? "remove the others" : "add one for it")
      );
  }
  return placements.map((placement) => boxComplaint(placement, canvas)).find(Boolean) ?? null;
}

function boxComplaint({ reference, x, y, width, height }, canvas) {
  if (width < 1 || height < 1)
    return `the box of '${reference}' is ${width} x ${height} pixels, but needs at least 1 x 1: enlarge it`;
  if (x < 0 || y < 0 || x + width > canvas.width || y + height > canvas.height)
    return (
      `the box of '${reference}' spans x ${x} to ${x + width} and y ${y} to ${y + height}, but the canvas is ` +
      `${canvas.width} x ${canvas.height} pixels: move or shrink the box`
    );
  return null;
}

/**
 * Names of the pictures of which another covers more than half.
 * @param {import("./layout.js").Placement[]} placements - in the order of pasting.
 * @returns {string[]}
 */
export function covered(placements) {
  return placements
    .filter((lower, index) =>
      placements.slice(index + 1).some((upper) => 2 * shared(lower, upper) > lower.width * lower.height),
    )
    .map(({ reference }) => reference);
}

function shared(one, other) {
  const width = Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x);
  const height = Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y);
  return Math.max(width, 0) * Math.max(height, 0);
}
