/** Drawing: the composed canvas, the mask over it, and the cells and handles. */

const SVG = "http://www.w3.org/2000/svg";
const OPAQUE = 128;
const MASK_TINT = [214, 39, 140];

/** Corners of a box with the place of each as a share of its sides. */
export const CORNERS = { nw: [0, 0], ne: [1, 0], sw: [0, 1], se: [1, 1] };

/**
 * Paste the pictures as the server does: transparent parts show what lies below.
 * @param {HTMLCanvasElement} surface - gets the size of the canvas.
 * @param {{width: number, height: number}} canvas
 * @param {string} background - colour as #rrggbb.
 * @param {import("./layout.js").Placement[]} placements - in the order of pasting.
 * @param {Map<string, import("./pictures.js").Loaded>} pictures - by name.
 */
export function drawCanvas(surface, canvas, background, placements, pictures) {
  const context = sized(surface, canvas);
  context.fillStyle = background;
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const { reference, x, y, width, height } of placements) {
    const picture = pictures.get(reference);
    if (picture && width > 0 && height > 0) context.drawImage(picture.bitmap, x, y, width, height);
  }
}

/**
 * Tint what the mask marks.
 * @param {HTMLCanvasElement} surface
 * @param {{width: number, height: number}} canvas
 * @param {string} shape - "rectangle" or "cutout".
 * @param {import("./layout.js").Placement[]} placements
 * @param {Map<string, import("./pictures.js").Loaded>} pictures - by name.
 */
export function drawMask(surface, canvas, shape, placements, pictures) {
  const context = sized(surface, canvas);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = `rgb(${MASK_TINT.join(" ")})`;
  for (const { reference, x, y, width, height } of placements) {
    if (width < 1 || height < 1) continue;
    const picture = pictures.get(reference);
    if (shape === "cutout" && picture) tint(context, picture, { x, y, width, height }, canvas);
    else context.fillRect(x, y, width, height);
  }
}

/** Draw the opaque pixels of a picture in one colour; only what lies on the canvas, for a box may be of any size. */
function tint(surface, { bitmap }, box, canvas) {
  const [left, top] = [Math.max(box.x, 0), Math.max(box.y, 0)];
  const width = Math.min(box.x + box.width, canvas.width) - left;
  const height = Math.min(box.y + box.height, canvas.height) - top;
  if (width < 1 || height < 1) return;
  const layer = new OffscreenCanvas(width, height);
  const context = layer.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, box.x - left, box.y - top, box.width, box.height);
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4)
    pixels.data.set([...MASK_TINT, pixels.data[at + 3] >= OPAQUE ? 255 : 0], at);
  context.putImageData(pixels, 0, 0);
  surface.drawImage(layer, left, top);
}

function sized(surface, { width, height }) {
  if (surface.width !== width) surface.width = width;
  if (surface.height !== height) surface.height = height;
  const context = surface.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  return context;
}

/**
 * Draw cells, the outlines of the boxes, and the handles of the selected one.
 * @param {SVGSVGElement} surface
 * @param {{canvas: {width: number, height: number}, cells: import("./layout.js").Box[],
 *   placements: import("./layout.js").Placement[], selected: string|null, unit: number}} scene - unit: canvas
 *   pixels in one CSS pixel.
 */
export function drawMarks(surface, { canvas, cells, placements, selected, unit }) {
  surface.setAttribute("viewBox", `0 0 ${canvas.width} ${canvas.height}`);
  const marks = cells.map((cell) => rectangle(cell, "cell"));
  for (const placement of placements)
    marks.push(rectangle(placement, placement.reference === selected ? "box selected" : "box"));
  const chosen = placements.find(({ reference }) => reference === selected);
  if (chosen)
    for (const [corner, place] of Object.entries(handlePlaces(chosen))) {
      const side = 9 * unit;
      const box = { x: place.x - side / 2, y: place.y - side / 2, width: side, height: side };
      marks.push(rectangle(box, `handle ${corner}`));
    }
  surface.replaceChildren(...marks);
}

/** Where the four handles of a box are, in canvas pixels. */
export function handlePlaces({ x, y, width, height }) {
  return Object.fromEntries(
    Object.entries(CORNERS).map(([corner, [right, low]]) => [corner, { x: x + right * width, y: y + low * height }]),
  );
}

function rectangle({ x, y, width, height }, name) {
  const made = document.createElementNS(SVG, "rect");
  for (const [key, value] of Object.entries({ x, y, width, height })) made.setAttribute(key, String(value));
  made.setAttribute("class", name);
  return made;
}

/** An empty layer for `drawMarks`. */
export function marksLayer() {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("preserveAspectRatio", "none");
  made.setAttribute("aria-hidden", "true");
  made.setAttribute("class", "magref-editor-marks");
  return made;
}
