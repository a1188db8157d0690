/**
 * Which pictures reach a MAGREF Build Masked Canvas: the walk up its link, through reroutes, bypassed nodes and
 * the borders of subgraphs. Works on the graph's own objects and needs no page.
 */

import { connectedPictures, isLinked, knownValue, MOST_STEPS, sourceOf, typeOf, widgetValue } from "../common/upstream.js";
import { say } from "./words.js";

const LOADER = "MagrefLoadReferences";
/** Nodes that hand the same list on with other pictures. */
const CHANGERS = new Set(["MagrefAutoMaskSubject", "MagrefDecorrelateReferences"]);

/**
 * @typedef {Object} Entry - one picture of the list.
 * @property {string} name
 * @property {string} kind
 * @property {string} [subject] - the name that several photos share.
 * @property {string} [file] - in the input folder, where it is known.
 * @property {boolean} [isOpaque] - the file's transparency does not reach the canvas.
 */

/**
 * @typedef {Object} Found
 * @property {Entry[]|null} entries - null where the list cannot be known before a run.
 * @property {Object[]|null} files - entries for the route /magref/preview; null if not all are files.
 * @property {boolean} isChanged - another node cuts out or changes the pictures, so they are known after a run only.
 * @property {Array[]} changes - the settings of each such node on the way; another setting makes a run stale.
 * @property {string} note - one sentence where something is missing, else empty.
 */

/**
 * Find the pictures of a canvas node.
 * @param {Object} node - MAGREF Build Masked Canvas in the live graph.
 * @returns {Found}
 */
export function findReferences(node) {
  const nothing = (note) => ({ entries: null, files: null, isChanged: false, changes: [], note });
  let source = sourceOf(node, "references");
  if (!source)
    return nothing(say("noPictures"));
  const changes = [];
  for (let step = 0; source && CHANGERS.has(typeOf(source.node)) && step < MOST_STEPS; step++) {
    changes.push(settingsOf(source.node));
    source = sourceOf(source.node, "references");
  }
  if (!source || typeOf(source.node) !== LOADER)
    return nothing(say("unknownPictures"));
  return { ...readLoader(source.node), isChanged: changes.length > 0, changes };
}

/** Name and value of each of a node's inputs; not of what ComfyUI adds to show a run's picture or text. */
function settingsOf(node) {
  const own = (node.widgets ?? []).filter(({ name }) => name && !name.startsWith("$$"));
  return own.filter(({ value }) => typeof value !== "object").map(({ name, value }) => [name, value]);
}

/** What the loader's list and sockets say. */
function readLoader(loader) {
  const unknown = (note) => ({ entries: null, files: null, note });
  const text = isLinked(loader, "references") ? knownValue(loader, "references") : (widgetValue(loader, "references") ?? "");
  if (typeof text !== "string") return unknown(say("linkedList"));
  let items;
  try {
    items = readList(text);
  } catch {
    return unknown(say("unreadList"));
  }
  const sockets = connectedPictures(loader);
  const named = new Set(items.map(({ image }) => image));
  const used = items.filter(({ off }) => !off);
  const entries = [
    ...used.flatMap((item) => expand(item, sockets)),
    ...[...sockets]
      .filter(([socket]) => !named.has(socket))
      .map(([socket, file]) => ({ name: socket, kind: "object", file, isOpaque: true })),
  ];
  if (!entries.length) return unknown(say("emptyList"));
  const areFiles = sockets.size === 0 && used.every(({ file }) => file);
  const isKnown = entries.every(({ file }) => file);
  return {
    entries,
    files: areFiles ? used : null,
    note: isKnown ? "" : say("linkedPictures"),
  };
}

function readList(text) {
  const items = text.trim() ? JSON.parse(text) : [];
  const isSound = (item) =>
    item && typeof item === "object" && (typeof item.file === "string" || typeof item.image === "string");
  if (!Array.isArray(items) || !items.every(isSound)) throw new TypeError("no list of pictures");
  return items;
}

/** One item of the list as one entry for each of its photos. */
function expand({ file, image, name, kind = "object", photos = [] }, sockets) {
  const label = name ?? stem(file ?? image);
  const others = Array.isArray(photos) ? photos : [];
  const shared = others.length ? { kind, subject: label } : { kind };
  const first = file
    ? { name: label, ...shared, file }
    : { name: label, ...shared, file: sockets.get(image), isOpaque: true };
  return [first, ...others.map((photo, index) => ({ name: `${label} ${index + 2}`, ...shared, file: photo }))];
}

/** The last part of a path without its ending, as Python's `Path.stem`. */
export function stem(path) {
  const last = path.split("/").pop();
  const dot = last.lastIndexOf(".");
  return dot > 0 ? last.slice(0, dot) : last;
}
