/** Which subjects a MAGREF Bind Subjects can name: what the graph above it says. Needs no page. */

import { connectedPictures, isLinked, knownValue, MOST_STEPS, sourceOf, typeOf, widgetValue } from "../common/upstream.js";
import { nameProblem, parseEntries, withSockets } from "../gallery/entries.js";

const LOADER = "MagrefLoadReferences";
/** Nodes that hand the same references on, and the input they take them from. */
const PASSING = {
  MagrefAutoMaskSubject: "references",
  MagrefDecorrelateReferences: "references",
  MagrefBuildMaskedCanvas: "references",
};

/**
 * @typedef {Object} Named - a subject as the prompt may name it.
 * @property {string} name
 * @property {string} word - what stands for it in the prompt.
 * @property {string} kind
 * @property {string} [file] - its picture in the input folder, where it is known.
 */

/**
 * The subjects of a node.
 * @param {Object} node - MAGREF Bind Subjects in the live graph.
 * @returns {Named[]|null} null where they cannot be known before a run.
 */
export function findSubjects(node) {
  let source = sourceOf(node, "references");
  for (let step = 0; source && PASSING[typeOf(source.node)] && step < MOST_STEPS; step++)
    source = sourceOf(source.node, PASSING[typeOf(source.node)]);
  return source && typeOf(source.node) === LOADER ? readLoader(source.node) : null;
}

function readLoader(loader) {
  const value = isLinked(loader, "references") ? knownValue(loader, "references") : widgetValue(loader, "references");
  if (typeof (value ?? "") !== "string") return null;
  if (value === undefined && isLinked(loader, "references")) return null;
  const { entries, problem } = parseEntries(value ?? "");
  if (problem) return null;
  const sockets = connectedPictures(loader);
  const used = withSockets(entries, [...sockets.keys()]).filter(({ off }) => !off);
  if (used.some(({ name }) => nameProblem(name))) return null;
  return used.map(({ name, word, kind, file, image }) => {
    const picture = file ?? sockets.get(image);
    return { name, word: word ?? name.replaceAll("_", " "), kind, ...(picture === undefined ? {} : { file: picture }) };
  });
}
