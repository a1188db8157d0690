/** What the last run of a node still says of the node as it is now. */

import { fromText, unreadable } from "./placements.js";
import { boxesOf } from "./preview.js";

/**
 * Whether a run can have been one of the layout that is set. The graph may have been changed while it ran.
 * @param {Object} report - of the run.
 * @param {import("./settings.js").Settings} settings - as they are now.
 * @returns {boolean}
 */
export function isOfLayout(report, { width, height, placements }) {
  if (report.width !== width || report.height !== height) return false;
  if (!placements || unreadable(placements)) return true;
  const boxes = new Map(boxesOf(report).map(({ reference, ...box }) => [reference, box]));
  const same = ({ reference, ...box }) =>
    Object.entries(box).every(([side, value]) => boxes.get(reference)?.[side] === value);
  return fromText(placements).every(same);
}

/**
 * Whether a run can have been one of the list that is set.
 * @param {{reference: string}[]} references - of the run.
 * @param {import("./graph.js").Entry[]|null} entries - as they are now; null if they are not known.
 * @returns {boolean}
 */
export function isOfList(references, entries) {
  const names = references.map(({ reference }) => reference);
  return entries === null || JSON.stringify(names) === JSON.stringify(entries.map(({ name }) => name));
}
