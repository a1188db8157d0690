/**
 * Where the server lays the references when no placements are given: cells, their order, and fitting.
 *
 * The same arithmetic as `magref_core/canvas/layout.py` and `gathered.py`; a test compares the two.
 */

import { PythonRandom } from "./random.js";

/**
 * @typedef {{x: number, y: number, width: number, height: number}} Box - canvas pixels, from the upper left.
 * @typedef {{reference: string} & Box} Placement - where one resized picture lies.
 * @typedef {{name: string, kind: string, subject?: string, width: number, height: number}} Picture - one
 *   reference; subject: the name that several photos share.
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
  return cut({ x: 0, y: 0, width, height }, gridFor(count));
}

/** Cut a cell into a grid for some pictures, with more columns than rows where it is wide. */
function partsOf(cell, count) {
  const { columns, rows } = gridFor(count);
  return cut(cell, cell.height > cell.width ? { columns: rows, rows: columns } : { columns, rows });
}

function cut({ x, y, width, height }, { columns, rows }) {
  const edges = (start, parts, side) => [
    ...Array.from({ length: parts }, (_, part) => start + part * Math.floor(side / parts)),
    start + side,
  ];
  const xs = edges(x, columns, width);
  const ys = edges(y, rows, height);
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
 * The cells of an order, paired with the pictures that lie in them, in the order of pasting.
 * @param {Picture[]} pictures
 * @param {{width: number, height: number, order: string, seed: number}} settings
 * @returns {{picture: Picture, cell: Box}[]|null} null for an order that only the server knows.
 */
export function pairs(pictures, { width, height, order, seed }) {
  const canvas = { width, height };
  const shuffled = (things) => deal(things, cellsFor(things.length, canvas), seed);
  if (order === "official") return shuffled(pictures).map(([picture, cell]) => ({ picture, cell }));
  if (order === "reading") {
    const cells = cellsFor(pictures.length, canvas);
    return pictures.map((picture, index) => ({ picture, cell: cells[index] }));
  }
  if (order === "grouped") {
    const subjects = photosOf(pictures);
    return shuffled(subjects).flatMap(([photos, cell]) => {
      const parts = partsOf(cell, photos.length);
      return photos.map((picture, index) => ({ picture, cell: parts[index] }));
    });
  }
  if (order === "behind") {
    const backgrounds = pictures.filter(({ kind }) => kind === "background");
    const behind = backgrounds.length === 1 && pictures.length > 1 ? backgrounds : [];
    const others = pictures.filter((picture) => !behind.includes(picture));
    const whole = { x: 0, y: 0, ...canvas };
    return [
      ...behind.map((picture) => ({ picture, cell: whole })),
      ...shuffled(others).map(([picture, cell]) => ({ picture, cell })),
    ];
  }
  return null;
}

/** The pictures of each subject, in the order of their first ones. */
function photosOf(pictures) {
  const photos = new Map();
  for (const picture of pictures) {
    const name = picture.subject ?? picture.name;
    photos.set(name, [...(photos.get(name) ?? []), picture]);
  }
  return [...photos.values()];
}

/** The official shuffle: the indices first, then the cells. */
function deal(things, cells, seed) {
  const random = new PythonRandom(seed);
  const indices = things.map((_, index) => index);
  random.shuffle(indices);
  random.shuffle(cells);
  return indices.map((index, place) => [things[index], cells[place]]);
}

/**
 * Lay out references as the server does in an order that needs no more than their sizes, kinds and subjects.
 * @param {Picture[]} pictures
 * @param {{width: number, height: number, order: string, seed: number}} settings
 * @returns {Placement[]|null} in the order of pasting; null for an order that only the server knows.
 */
export function arrange(pictures, { width, height, order, seed }) {
  const placed = pairs(pictures, { width, height, order, seed });
  return placed && placed.map(({ picture, cell }) => ({ reference: picture.name, ...fitInCell(cell, picture) }));
}
