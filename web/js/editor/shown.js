/** Which boxes and cells are drawn, and what is wrong with the boxes. */

import { arrange, cellsFor, pairs } from "./layout.js";
import { complaint, covered, fromText, unreadable } from "./placements.js";
import { boxesOf } from "./preview.js";
import { say } from "./words.js";

/**
 * The placements of the user's own, else the automatic layout as far as it is known here.
 * @param {Object} state
 * @param {import("./settings.js").Settings} state.settings
 * @param {string[]} state.unknown - names of the settings that the page cannot know.
 * @param {import("./layout.js").Picture[]} state.pictures
 * @param {import("./preview.js").Result|null} state.result - of the server, if it is of what is set.
 * @param {boolean} state.canAsk - whether the server can be asked before a run.
 * @returns {{placements: import("./layout.js").Placement[], problem: string|null, note: string}}
 */
export function layoutOf({ settings, unknown, pictures, result, canAsk }) {
  const names = pictures.map(({ name }) => name);
  const problem = unreadable(settings.placements);
  if (settings.placements && !problem) {
    const placements = fromText(settings.placements);
    return { placements, problem: names.length ? complaint(placements, names, settings) : null, note: "" };
  }
  const isKnown = !unknown.includes("order") && !unknown.includes("layout_seed");
  const automatic = isKnown ? arrange(pictures, { ...settings, seed: settings.layout_seed }) : null;
  const boxes = automatic ?? result?.placements ?? (result && boxesOf(result.report));
  if (boxes) return { placements: boxes, problem, note: "" };
  const note = canAsk || !names.length ? "" : say("byServer", { order: settings.order });
  return { placements: [], problem, note };
}

/**
 * The cells of the layout; the official ones under boxes of one's own, and while nothing is known.
 * @param {Object} state
 * @param {import("./settings.js").Settings} state.settings
 * @param {import("./layout.js").Picture[]} state.pictures
 * @param {number} state.count - references, as far as it is known.
 * @param {import("./preview.js").Result|null} state.result - of the server, if it is of what is set.
 * @returns {import("./layout.js").Box[]}
 */
export function cellsOf({ settings, pictures, count, result }) {
  const { placements, layout_seed: seed, ...rest } = settings;
  const dealt = placements ? null : pairs(pictures, { ...rest, seed });
  if (settings.order === "grouped" || settings.order === "behind") {
    if (dealt?.length) return dealt.map(({ cell }) => cell);
  }
  const isOfServer = !placements && !dealt;
  const cells = isOfServer ? (result?.report.subjects.map(({ cell }) => cell) ?? []) : [];
  return cells.length && cells.every(Boolean) ? cells : cellsFor(count, rest);
}

/**
 * What to say of pictures that others cover.
 * @param {import("./layout.js").Placement[]} placements - in the order of pasting.
 * @param {Map<string, import("./layout.js").Picture>} pictures - by name.
 * @returns {string} empty if all is well; a background is meant to be covered.
 */
export function coverNote(placements, pictures) {
  const names = covered(placements).filter((name) => pictures.get(name)?.kind !== "background");
  return names.length ? say("covered", { names: names.map((name) => `'${name}'`).join(", ") }) : "";
}
