/**
 * What reaches an input: the walk up its link, through reroutes, bypassed nodes and the borders of subgraphs. Works on
 * the graph's own objects and needs no page.
 */

import { getLink, hostOf, isFromBorder } from "./graph.js";

/** PrimitiveInt and its like, and PrimitiveNode, which lives in the page alone. */
const PRIMITIVE = /^Primitive/;
const NEVER = 2;
const BYPASS = 4;
/** Links that are followed at most: there may be a circle. */
export const MOST_STEPS = 200;

/**
 * What stands at the picture sockets of MAGREF Load References.
 * @param {Object} loader - in the live graph.
 * @returns {Map<string, string|undefined>} socket -> file that Load Image reads for it, or undefined where another
 *   node makes the picture.
 */
export function connectedPictures(loader) {
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

/** The id of a node's kind. */
export const typeOf = (node) => node.comfyClass ?? node.type;

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
