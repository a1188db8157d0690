/** The canvas node's own widgets, read and written. */

import { isLinked, knownValue, widgetValue } from "../common/upstream.js";

/** What undo and redo of the editor bring back. */
const UNDONE = ["placements", "order", "layout_seed", "background"];

const COLOUR = /^#[0-9a-f]{6}$/i;
const MOST_SEED = 0xffffffff;

/**
 * @typedef {Object} Settings
 * @property {number} width - of the canvas, in pixels.
 * @property {number} height
 * @property {string} order
 * @property {number} layout_seed
 * @property {string} mask_shape
 * @property {string} background
 * @property {string} placements
 */

/**
 * What the node is set to; where a value that comes over a link is not known, its widget's is taken.
 * @param {Object} node
 * @returns {Settings}
 */
export function readSettings(node) {
  const read = (name) => knownValue(node, name) ?? widgetValue(node, name);
  return {
    width: whole(read("width"), 832),
    height: whole(read("height"), 480),
    order: String(read("order") ?? "official"),
    layout_seed: whole(read("layout_seed"), 0),
    mask_shape: String(read("mask_shape") ?? "rectangle"),
    background: String(read("background") ?? "#ffffff"),
    placements: String(read("placements") ?? ""),
  };
}

function whole(value, otherwise) {
  const number = Math.round(Number(value));
  return Number.isFinite(number) && number >= 0 ? number : otherwise;
}

/**
 * Names of the settings that come over links, so that they cannot be changed here.
 * @param {Object} node
 * @returns {string[]}
 */
export function linkedSettings(node) {
  return Object.keys(readSettings(node)).filter((name) => isLinked(node, name));
}

/**
 * Names of those of them that the page cannot know.
 * @param {Object} node
 * @returns {string[]}
 */
export function unknownSettings(node) {
  return linkedSettings(node).filter((name) => knownValue(node, name) === undefined);
}

/** The colour if it is one, else white. */
export function soundColour(text) {
  return COLOUR.test(text.trim()) ? text.trim().toLowerCase() : "#ffffff";
}

/** The seed after this one. */
export function nextSeed(seed) {
  return seed >= MOST_SEED ? 0 : seed + 1;
}

/** Whether the node knows an order. */
export function hasOrder(node, name) {
  const values = node.widgets?.find((widget) => widget.name === "order")?.options?.values;
  return Array.isArray(values) && values.includes(name);
}

/**
 * The part of the settings that the editor changes.
 * @param {Settings} settings
 * @returns {Partial<Settings>}
 */
export function snapshot(settings) {
  return Object.fromEntries(UNDONE.map((name) => [name, settings[name]]));
}

/**
 * Write settings into the node's widgets as one change of the graph, which the host's undo then knows.
 * @param {Object} node
 * @param {Partial<Settings>} values
 */
export function writeSettings(node, values) {
  node.graph?.beforeChange?.(node);
  for (const [name, value] of Object.entries(values)) {
    const widget = node.widgets?.find((one) => one.name === name);
    if (!widget || widget.value === value) continue;
    widget.value = value;
    if (name !== "placements") widget.callback?.(value);
  }
  node.graph?.afterChange?.(node);
  node.setDirtyCanvas?.(true, true);
}
