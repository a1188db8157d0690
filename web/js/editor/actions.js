/** What each button of the toolbar does to the node's values; pure functions. */

import { centre, cellUnder, equalise, fill, fit, repair, restack } from "./model.js";
import { toText } from "./placements.js";
import { nextSeed } from "./settings.js";

/**
 * @typedef {Object} Situation
 * @property {import("./settings.js").Settings} settings
 * @property {import("./layout.js").Placement[]} placements - as shown.
 * @property {Map<string, import("./layout.js").Picture>} pictures - by name.
 * @property {import("./layout.js").Box[]} cells - as drawn.
 * @property {string|null} selected - name of the selected picture.
 */

/** Orders that deal the cells out by layout_seed. */
const DEALT = ["official", "grouped", "behind"];

const whole = {
  official: () => ({ placements: "", order: "official" }),
  arrange: () => ({ placements: "", order: "fitted" }),
  shuffle: ({ settings }) => ({
    placements: "",
    order: DEALT.includes(settings.order) ? settings.order : "official",
    layout_seed: nextSeed(settings.layout_seed),
  }),
};

const boxes = {
  equalise: ({ settings, placements, pictures }) => equalise(placements, pictures, settings),
  forward: ({ placements, selected }) => restack(placements, selected, 1),
  backward: ({ placements, selected }) => restack(placements, selected, -1),
  repair: ({ settings, placements, pictures }) => repair(placements, [...pictures.values()], settings),
};

const one = {
  fit: (box, picture, cell, canvas) => fit(box, picture, cell, canvas),
  // A background is meant to lie behind all others.
  fill: (box, picture, cell, canvas) =>
    fill(box, picture, picture.kind === "background" ? { x: 0, y: 0, ...canvas } : cell, canvas),
  centre: (box, picture, cell, canvas) => centre(box, cell, canvas),
};

/**
 * Carry out a button.
 * @param {string} action - official, arrange, shuffle, equalise, forward, backward, repair, fit, fill or centre.
 * @param {Situation} situation
 * @returns {Partial<import("./settings.js").Settings>|null} the values to set; null where nothing can be done.
 */
export function act(action, situation) {
  if (whole[action]) return whole[action](situation);
  const { settings, placements, pictures, cells, selected } = situation;
  if (boxes[action]) {
    const isKnown = action === "repair" || placements.every(({ reference }) => pictures.has(reference));
    return isKnown && pictures.size ? { placements: toText(boxes[action](situation)) } : null;
  }
  const box = placements.find(({ reference }) => reference === selected);
  const picture = pictures.get(selected);
  if (!box || !picture) return null;
  const canvas = { width: settings.width, height: settings.height };
  const cell = cellOf(box, picture, cells, canvas);
  const changed = placements.map((other) => (other === box ? one[action](box, picture, cell, canvas) : other));
  const isBehind = action === "fill" && picture.kind === "background";
  return { placements: toText(isBehind ? restack(changed, selected, -placements.length) : changed) };
}

/** The cell below a box; one that is all of the canvas is only for a background, where there are others. */
function cellOf(box, { kind }, cells, { width, height }) {
  const parts = kind === "background" ? [] : cells.filter((cell) => cell.width < width || cell.height < height);
  return cellUnder(box, parts.length ? parts : cells);
}
