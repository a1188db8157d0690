/** Moving and scaling boxes on the canvas; pure functions on whole pixels. Every box they give lies inside. */

import { cellsFor, fitInCell } from "./layout.js";

/** Pixels of the grid to which boxes snap: one token of the model. */
export const GRID = 16;

/** The least side that a box is scaled to, in pixels. */
export const MIN_SIDE = 8;

const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));

/**
 * Move a box inside.
 * @param {import("./layout.js").Box} box
 * @param {{width: number, height: number}} canvas
 * @returns {import("./layout.js").Box} the same size, unless it is larger than the canvas.
 */
export function inside(box, canvas) {
  const width = clamp(Math.round(box.width), 1, canvas.width);
  const height = clamp(Math.round(box.height), 1, canvas.height);
  return {
    ...box,
    width,
    height,
    x: clamp(Math.round(box.x), 0, canvas.width - width),
    y: clamp(Math.round(box.y), 0, canvas.height - height),
  };
}

/**
 * The lines to which boxes snap.
 * @param {import("./layout.js").Box[]} cells
 * @returns {{edges: {x: number[], y: number[]}, centres: {x: number[], y: number[]}}}
 */
export function guidesOf(cells) {
  const edges = (start, side) => [
    ...new Set(cells.flatMap((cell) => [cell[start], cell[start] + cell[side]])),
  ];
  const centres = (start, side) => [...new Set(cells.map((cell) => cell[start] + cell[side] / 2))];
  return {
    edges: { x: edges("x", "width"), y: edges("y", "height") },
    centres: { x: centres("x", "width"), y: centres("y", "height") },
  };
}

/**
 * Move a box by a way, snapping to cells (edges and centres) or else to the grid.
 * @param {import("./layout.js").Box} box - where the movement began.
 * @param {{x: number, y: number}} way - in pixels.
 * @param {{width: number, height: number}} canvas
 * @param {{guides?: ReturnType<typeof guidesOf>, reach?: number}} [snap] - reach: how near a guide attracts, in
 *   pixels; without guides nothing snaps.
 * @returns {import("./layout.js").Box}
 */
export function move(box, way, canvas, { guides, reach = GRID / 2 } = {}) {
  const moved = { ...box, x: box.x + way.x, y: box.y + way.y };
  if (!guides) return inside(moved, canvas);
  return inside(
    {
      ...moved,
      x: snapStart(moved.x, box.width, guides.edges.x, guides.centres.x, reach),
      y: snapStart(moved.y, box.height, guides.edges.y, guides.centres.y, reach),
    },
    canvas,
  );
}

function snapStart(start, side, edges, centres, reach) {
  const starts = [
    ...edges.flatMap((edge) => [edge, edge - side]),
    ...centres.map((centre) => Math.floor(centre - side / 2)),
  ];
  const nearest = starts.reduce((best, next) => (Math.abs(next - start) < Math.abs(best - start) ? next : best));
  return Math.abs(nearest - start) <= reach ? nearest : Math.round(start / GRID) * GRID;
}

/**
 * Drag a corner; the opposite one stays, and so does the shape.
 * @param {import("./layout.js").Box} box - where the dragging began.
 * @param {"nw"|"ne"|"sw"|"se"} corner
 * @param {{x: number, y: number}} way - of the pointer, in pixels.
 * @param {{width: number, height: number}} canvas
 * @param {{guides?: ReturnType<typeof guidesOf>, reach?: number}} [snap] - as for `move`.
 * @returns {import("./layout.js").Box}
 */
export function resize(box, corner, way, canvas, { guides, reach = GRID / 2 } = {}) {
  const toLeft = corner.endsWith("w");
  const toTop = corner.startsWith("n");
  const anchor = { x: toLeft ? box.x + box.width : box.x, y: toTop ? box.y + box.height : box.y };
  const dx = toLeft ? -way.x : way.x;
  const dy = toTop ? -way.y : way.y;
  const diagonal = box.width ** 2 + box.height ** 2;
  let scale = ((box.width + dx) * box.width + (box.height + dy) * box.height) / diagonal;
  if (guides) {
    const wide = { anchor: anchor.x, direction: toLeft ? -1 : 1, side: box.width, edges: guides.edges.x };
    const high = { anchor: anchor.y, direction: toTop ? -1 : 1, side: box.height, edges: guides.edges.y };
    scale = snapScale(scale, [wide, high], reach);
  }
  const room = Math.min(
    (toLeft ? anchor.x : canvas.width - anchor.x) / box.width,
    (toTop ? anchor.y : canvas.height - anchor.y) / box.height,
  );
  const least = Math.min(MIN_SIDE / Math.min(box.width, box.height), 1, room);
  const size = scaled(box, clamp(scale, least, room));
  return inside(
    { ...box, ...size, x: toLeft ? anchor.x - size.width : anchor.x, y: toTop ? anchor.y - size.height : anchor.y },
    canvas,
  );
}

/** The scale at which one of the moving sides lies on a cell's edge within reach, else on the grid. */
function snapScale(scale, sides, reach) {
  const toward = (lines) =>
    sides
      .flatMap(({ anchor, direction, side, edges }) => {
        const end = anchor + direction * side * scale;
        return lines(edges, end).map((line) => ({
          scale: ((line - anchor) * direction) / side,
          way: Math.abs(line - end),
        }));
      })
      .filter((one) => one.scale > 0)
      .sort((one, other) => one.way - other.way)[0];
  const near = toward((edges, end) => edges.filter((edge) => Math.abs(edge - end) <= reach));
  return (near ?? toward((_, end) => [Math.round(end / GRID) * GRID]))?.scale ?? scale;
}

function scaled({ width, height }, scale) {
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/**
 * Scale a box about its centre, as far as the canvas allows.
 * @param {import("./layout.js").Box} box
 * @param {number} scale
 * @param {{width: number, height: number}} canvas
 * @returns {import("./layout.js").Box} the shape is kept.
 */
export function grow(box, scale, canvas) {
  const room = Math.min(canvas.width / box.width, canvas.height / box.height);
  const least = Math.min(MIN_SIDE / Math.min(box.width, box.height), 1);
  const size = scaled(box, clamp(scale, least, room));
  const x = box.x + (box.width - size.width) / 2;
  const y = box.y + (box.height - size.height) / 2;
  return inside({ ...box, ...size, x, y }, canvas);
}

/** Put a box into the middle of an area. */
export function centre(box, area, canvas) {
  const x = area.x + Math.floor((area.width - box.width) / 2);
  const y = area.y + Math.floor((area.height - box.height) / 2);
  return inside({ ...box, x, y }, canvas);
}

/** The cell that holds the middle of a box; the nearest where none does. */
export function cellUnder(box, cells) {
  const distance = (cell) =>
    Math.hypot(
      cell.x + cell.width / 2 - box.x - box.width / 2,
      cell.y + cell.height / 2 - box.y - box.height / 2,
    );
  return cells.reduce((best, next) => (distance(next) < distance(best) ? next : best));
}

/**
 * Fit a picture into an area in its own shape, as the official layout does.
 * @param {import("./layout.js").Placement} placement
 * @param {{width: number, height: number}} picture - in pixels.
 * @param {import("./layout.js").Box} area
 * @param {{width: number, height: number}} canvas
 */
export function fit(placement, picture, area, canvas) {
  return inside({ ...placement, ...fitInCell(area, picture) }, canvas);
}

/** Cover an area with a picture in its own shape, as far as the canvas allows, centred on the area. */
export function fill(placement, picture, area, canvas) {
  const wanted = Math.max(area.width / picture.width, area.height / picture.height);
  const room = Math.min(canvas.width / picture.width, canvas.height / picture.height);
  const size = scaled(picture, Math.min(wanted, room));
  return centre({ ...placement, ...size }, area, canvas);
}

/**
 * Give all pictures the same area in their own shapes, each about its centre.
 * @param {import("./layout.js").Placement[]} placements
 * @param {Map<string, {width: number, height: number}>} pictures - by name.
 * @param {{width: number, height: number}} canvas
 * @returns {import("./layout.js").Placement[]} the area is the mean, or less where one would leave the canvas.
 */
export function equalise(placements, pictures, canvas) {
  const mean = placements.reduce((sum, { width, height }) => sum + width * height, 0) / placements.length;
  const most = placements.map(({ reference }) => {
    const { width, height } = pictures.get(reference);
    return Math.min(canvas.width / width, canvas.height / height) ** 2 * width * height;
  });
  const area = Math.min(mean, ...most);
  return placements.map((placement) => {
    const picture = pictures.get(placement.reference);
    const size = scaled(picture, Math.sqrt(area / (picture.width * picture.height)));
    const x = placement.x + (placement.width - size.width) / 2;
    const y = placement.y + (placement.height - size.height) / 2;
    return inside({ ...placement, ...size, x, y }, canvas);
  });
}

/**
 * Change the order of pasting.
 * @param {import("./layout.js").Placement[]} placements
 * @param {string} name
 * @param {number} steps - forward if above 0, backward if below.
 * @returns {import("./layout.js").Placement[]}
 */
export function restack(placements, name, steps) {
  const from = placements.findIndex(({ reference }) => reference === name);
  const to = clamp(from + steps, 0, placements.length - 1);
  const others = placements.filter((_, index) => index !== from);
  return from < 0 ? placements : [...others.slice(0, to), placements[from], ...others.slice(to)];
}

/**
 * The topmost picture at a point.
 * @param {import("./layout.js").Placement[]} placements - in the order of pasting.
 * @returns {import("./layout.js").Placement|undefined}
 */
export function pick(placements, { x, y }) {
  return placements.findLast(
    (box) => x >= box.x && y >= box.y && x < box.x + box.width && y < box.y + box.height,
  );
}

/**
 * Make placements that the server accepts: strangers and doubles go, missing pictures are fitted into the cell
 * with the most room, sizes below one pixel are fitted anew, and all are moved inside.
 * @param {import("./layout.js").Placement[]} placements
 * @param {import("./layout.js").Picture[]} pictures
 * @param {{width: number, height: number}} canvas
 * @returns {import("./layout.js").Placement[]}
 */
export function repair(placements, pictures, canvas) {
  const cells = cellsFor(pictures.length, canvas);
  const names = new Set();
  const kept = placements.filter(({ reference }) => {
    const isNew = !names.has(reference) && pictures.some(({ name }) => name === reference);
    names.add(reference);
    return isNew;
  });
  const sound = kept.map((placement) => {
    if (placement.width >= 1 && placement.height >= 1) return shrinkInto(placement, canvas);
    const picture = pictures.find(({ name }) => name === placement.reference);
    return fit(placement, picture, cellUnder(placement, cells), canvas);
  });
  for (const picture of pictures.filter(({ name }) => !names.has(name)))
    sound.push(fit({ reference: picture.name }, picture, emptiest(cells, sound), canvas));
  return sound;
}

function shrinkInto(placement, canvas) {
  const scale = Math.min(1, canvas.width / placement.width, canvas.height / placement.height);
  return inside({ ...placement, ...scaled(placement, scale) }, canvas);
}

function emptiest(cells, placements) {
  const used = (cell) =>
    placements.reduce((sum, box) => {
      const width = Math.min(cell.x + cell.width, box.x + box.width) - Math.max(cell.x, box.x);
      const height = Math.min(cell.y + cell.height, box.y + box.height) - Math.max(cell.y, box.y);
      return sum + Math.max(width, 0) * Math.max(height, 0);
    }, 0);
  return cells.reduce((best, next) => (used(next) < used(best) ? next : best));
}
