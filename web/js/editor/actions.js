/** What each button of the toolbar does to the node's values; pure functions. */

import { cellsFor } from "./layout.js";
import { centre, cellUnder, equalise, fill, fit, repair, restack } from "./model.js";
import { toText } from "./placements.js";
import { nextSeed } from "./settings.js";

/**
 * @typedef {Object} Situation
 * @property {import("./settings.js").Settings} settings
 * @property {import("./layout.js").Placement[]} placements - as shown.
 * @property {Map<string, import("./layout.js").Picture>} pictures - by name.
 * @property {string|null} selected - name of the selected picture.
 */

const whole = {
  official: () => ({ placements: "", order: "official" }),
  arrange: () => ({ placements: "", order: "fitted" }),
  shuffle: ({ settings }) => ({
    placements: "",
    order: "official",
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
  const { settings, placements, pictures, selected } = situation;
  if (boxes[action]) {
    const isKnown = action === "repair" || placements.every(({ reference }) => pictures.has(reference));
    return isKnown && pictures.size ? { placements: toText(boxes[action](situation)) } : null;
  }
  const box = placements.find(({ reference }) => reference === selected);
  const picture = pictures.get(selected);
  if (!box || !picture) return null;
  const cell = cellUnder(box, cellsFor(pictures.size, settings));
  const canvas = { width: settings.width, height: settings.height };
  const changed = placements.map((other) => (other === box ? one[action](box, picture, cell, canvas) : other));
  const isBehind = action === "fill" && picture.kind === "background";
  return { placements: toText(isBehind ? restack(changed, selected, -placements.length) : changed) };
}
