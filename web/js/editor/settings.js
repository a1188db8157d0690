/** The canvas node's own widgets, read and written. */

import { isLinked, widgetValue } from "./graph.js";

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
 * What the node is set to; a value that comes over a link is not known, its widget's is taken.
 * @param {Object} node
 * @returns {Settings}
 */
export function readSettings(node) {
  return {
    width: whole(widgetValue(node, "width"), 832),
    height: whole(widgetValue(node, "height"), 480),
    order: String(widgetValue(node, "order") ?? "official"),
    layout_seed: whole(widgetValue(node, "layout_seed"), 0),
    mask_shape: String(widgetValue(node, "mask_shape") ?? "rectangle"),
    background: String(widgetValue(node, "background") ?? "#ffffff"),
    placements: String(widgetValue(node, "placements") ?? ""),
  };
}

function whole(value, otherwise) {
  const number = Math.round(Number(value));
  return Number.isFinite(number) && number >= 0 ? number : otherwise;
}

/**
 * Names of the settings that come over links, so that the page cannot know them.
 * @param {Object} node
 * @returns {string[]}
 */
export function linkedSettings(node) {
  return Object.keys(readSettings(node)).filter((name) => isLinked(node, name));
}

/** The colour if it is one, else white. */
export function soundColour(text) {
  return COLOUR.test(text.trim()) ? text.trim().toLowerCase() : "#ffffff";
}

/** The seed after this one. */
export function nextSeed(seed) {
  return seed >= MOST_SEED ? 0 : seed + 1;
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
