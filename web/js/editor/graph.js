/**
 * Which pictures reach a MAGREF Build Masked Canvas: the walk up its link, through reroutes, bypassed nodes and
 * the borders of subgraphs. Works on the graph's own objects and needs no page.
 */

import { getLink, hostOf, isFromBorder } from "../common/graph.js";
import { say } from "./words.js";

const LOADER = "MagrefLoadReferences";
const CUTTER = "MagrefAutoMaskSubject";
/** PrimitiveInt and its like, and PrimitiveNode, which lives in the page alone. */
const PRIMITIVE = /^Primitive/;
const NEVER = 2;
const BYPASS = 4;
const MOST_STEPS = 200;

/**
 * @typedef {Object} Entry - one picture of the list.
 * @property {string} name
 * @property {string} kind
 * @property {string} [file] - in the input folder, where it is known.
 * @property {boolean} [isOpaque] - the file's transparency does not reach the canvas.
 */

/**
 * @typedef {Object} Found
 * @property {Entry[]|null} entries - null where the list cannot be known before a run.
 * @property {Object[]|null} files - entries for the route /magref/preview; null if not all are files.
 * @property {boolean} isCut - MAGREF Auto Mask Subject stands between, so outlines are known after a run only.
 * @property {Array[]} cutting - the settings of each MAGREF Auto Mask Subject on the way; a change makes a run stale.
 * @property {string} note - one sentence where something is missing, else empty.
 */

/**
 * Find the pictures of a canvas node.
 * @param {Object} node - MAGREF Build Masked Canvas in the live graph.
 * @returns {Found}
 */
export function findReferences(node) {
  const nothing = (note) => ({ entries: null, files: null, isCut: false, cutting: [], note });
  let source = sourceOf(node, "references");
  if (!source)
    return nothing(say("noPictures"));
  const cutting = [];
  for (let step = 0; source && typeOf(source.node) === CUTTER && step < MOST_STEPS; step++) {
    cutting.push(settingsOf(source.node));
    source = sourceOf(source.node, "references");
  }
  if (!source || typeOf(source.node) !== LOADER)
    return nothing(say("unknownPictures"));
  return { ...readLoader(source.node), isCut: cutting.length > 0, cutting };
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
  const first = file
    ? { name: label, kind, file }
    : { name: label, kind, file: sockets.get(image), isOpaque: true };
  const others = Array.isArray(photos) ? photos : [];
  return [first, ...others.map((photo, index) => ({ name: `${label} ${index + 2}`, kind, file: photo }))];
}

/** The last part of a path without its ending, as Python's `Path.stem`. */
export function stem(path) {
  const last = path.split("/").pop();
  const dot = last.lastIndexOf(".");
  return dot > 0 ? last.slice(0, dot) : last;
}

/** Socket -> file that Load Image reads for it, or undefined where another node makes the picture. */
function connectedPictures(loader) {
  const found = new Map();
  for (const { name, link } of loader.inputs ?? []) {
    if (!name.startsWith("images.") || link == null) continue;
    const source = sourceOf(loader, name);
    if (!source) continue;
    const isFile = typeOf(source.node) === "LoadImage" && source.slot === 0;
    found.set(name.slice("images.".length), isFile ? widgetValue(source.node, "image") : undefined);
  }
  return found;
}

/**
 * The value of a node's widget.
 * @param {Object} node
 * @param {string} name
 */
export function widgetValue(node, name) {
  return node.widgets?.find((widget) => widget.name === name)?.value;
}

/**
 * Whether an input is fed by a link rather than by its widget.
 * @param {Object} node
 * @param {string} name
 */
export function isLinked(node, name) {
  return inputOf(node, name)?.link != null;
}

/** An input by its name. */
export function inputOf(node, name) {
  return node.inputs?.find((input) => input.name === name);
}

/**
 * The value that reaches an input, as far as the page can know it: that of its widget, of the widget to which it was
 * promoted, or of a primitive node.
 * @param {Object} node
 * @param {string} name - of the input.
 * @returns {*} undefined where another node makes it.
 */
export function knownValue(node, name) {
  let at = node;
  let input = inputOf(node, name);
  if (input?.link == null) return widgetValue(node, name);
  for (let step = 0; step < MOST_STEPS; step++) {
    const link = getLink(at.graph, input.link);
    if (!link) return undefined;
    if (!isFromBorder(link)) return primitiveValue(at, input, link);
    at = hostOf(at.graph);
    input = at?.inputs?.[link.origin_slot];
    if (!input) return undefined;
    if (input.link == null) return widgetValue(at, input.widget?.name ?? input.name);
  }
  return undefined;
}

/** The value of the primitive node that a link comes from. */
function primitiveValue(node, input, link) {
  const origin = node.graph.getNodeById(link.origin_id);
  const source = origin && through(origin, link.origin_slot, input.type, MOST_STEPS, []);
  return source && PRIMITIVE.test(typeOf(source.node)) ? source.node.widgets?.[0]?.value : undefined;
}

const typeOf = (node) => node.comfyClass ?? node.type;

/**
 * The node and output that really feed an input.
 * @param {Object} node
 * @param {string} name - of the input.
 * @returns {{node: Object, slot: number}|null}
 */
export function sourceOf(node, name) {
  const slot = node.inputs?.findIndex((input) => input.name === name) ?? -1;
  return slot < 0 ? null : follow(node, slot, MOST_STEPS, []);
}

/**
 * @param {Object} node
 * @param {number} slot - of the input.
 * @param {number} left - steps that may still be made.
 * @param {Object[]} hosts - the subgraph nodes that were entered, the innermost last.
 */
function follow(node, slot, left, hosts) {
  const input = node.inputs?.[slot];
  const link = input?.link == null ? null : getLink(node.graph, input.link);
  if (!link || left <= 0) return null;
  if (isFromBorder(link)) {
    const host = hosts.at(-1) ?? hostOf(node.graph);
    return host && follow(host, link.origin_slot, left - 1, hosts.slice(0, -1));
  }
  const origin = node.graph.getNodeById(link.origin_id);
  return origin && through(origin, link.origin_slot, input.type, left - 1, hosts);
}

/** What an output stands for, once everything that only passes values on is left behind. */
function through(origin, slot, type, left, hosts) {
  if (origin.mode === NEVER || left <= 0) return null;
  if (origin.mode === BYPASS) {
    const inputs = origin.inputs ?? [];
    const same = inputs[slot]?.type === type ? slot : inputs.findIndex((input) => input.type === type);
    return same < 0 ? null : follow(origin, same, left - 1, hosts);
  }
  if (origin.subgraph) {
    const inner = origin.subgraph.outputNode?.slots?.[slot]?.getLinks?.()[0];
    const node = inner && origin.subgraph.getNodeById(inner.origin_id);
    return node ? through(node, inner.origin_slot, type, left - 1, [...hosts, origin]) : null;
  }
  const virtual = origin.resolveVirtualOutput?.(slot);
  if (virtual) return through(virtual.node, virtual.slot, type, left - 1, hosts);
  if (origin.isVirtualNode || origin.type === "Reroute") return follow(origin, slot, left - 1, hosts);
  return { node: origin, slot };
}
