/**
 * Where the server lays the references when no placements are given: cells, their order, and fitting.
 *
 * The same arithmetic as `magref_core/canvas/layout.py`; a test compares the two.
 */

import { PythonRandom } from "./random.js";

/**
 * @typedef {{x: number, y: number, width: number, height: number}} Box - canvas pixels, from the upper left.
 * @typedef {{reference: string} & Box} Placement - where one resized picture lies.
 * @typedef {{name: string, kind: string, width: number, height: number}} Picture - one reference.
 */

const OFFICIAL_GRIDS = [
  [1, 1, 1],
  [2, 2, 1],
  [3, 3, 1],
  [4, 2, 2],
  [6, 3, 2],
  [8, 4, 2],
];

/**
 * The official grid; above eight references it grows.
 * @param {number} count - references; 0 counts as 1.
 * @returns {{columns: number, rows: number}}
 */
export function gridFor(count) {
  const official = OFFICIAL_GRIDS.find(([cells]) => count <= cells);
  if (official) return { columns: official[1], rows: official[2] };
  const columns = Math.ceil(Math.sqrt(count));
  return { columns, rows: Math.ceil(count / columns) };
}

/**
 * Cut the canvas into the cells of `gridFor`.
 * @param {number} count - references.
 * @param {{width: number, height: number}} canvas - in pixels.
 * @returns {Box[]} row by row; the last column and row take the pixels that are left over.
 */
export function cellsFor(count, { width, height }) {
  const { columns, rows } = gridFor(count);
  const edges = (parts, side) => [
    ...Array.from({ length: parts }, (_, part) => part * Math.floor(side / parts)),
    side,
  ];
  const xs = edges(columns, width);
  const ys = edges(rows, height);
  return Array.from({ length: columns * rows }, (_, cell) => {
    const column = cell % columns;
    const row = Math.floor(cell / columns);
    return { x: xs[column], y: ys[row], width: xs[column + 1] - xs[column], height: ys[row + 1] - ys[row] };
  });
}

/**
 * The largest box that keeps a picture's shape and fits into a cell, centred; sides are truncated.
 * @param {Box} cell
 * @param {{width: number, height: number}} picture - in pixels.
 * @returns {Box} a side may be 0 where the picture is too thin.
 */
export function fitInCell(cell, picture) {
  const ratio = picture.width / picture.height;
  const isWide = ratio > cell.width / cell.height;
  const width = isWide ? cell.width : Math.trunc(cell.height * ratio);
  const height = isWide ? Math.trunc(cell.width / ratio) : cell.height;
  return {
    x: cell.x + Math.floor((cell.width - width) / 2),
    y: cell.y + Math.floor((cell.height - height) / 2),
    width,
    height,
  };
}

/**
 * Lay out references as the orders `official` and `reading` do.
 * @param {Picture[]} pictures
 * @param {{width: number, height: number, order: string, seed: number}} settings
 * @returns {Placement[]|null} in the order of pasting; null for an order that only the server knows.
 */
export function arrange(pictures, { width, height, order, seed }) {
  if (order !== "official" && order !== "reading") return null;
  const cells = cellsFor(pictures.length, { width, height });
  const indices = pictures.map((_, index) => index);
  if (order === "official") {
    const random = new PythonRandom(seed);
    random.shuffle(indices);
    random.shuffle(cells);
  }
  return indices.map((index, place) => ({
    reference: pictures[index].name,
    ...fitInCell(cells[place], pictures[index]),
  }));
}
