/** Files: what can serve as a picture, what it is called, and where the page sees it. No DOM, no host. */

import { shorten } from "./entries.js";

/** Bytes that ComfyUI takes at once where it does not say: its own default. */
export const DEFAULT_LIMIT = 100 * 1024 * 1024;
/** Bytes at the start of a file by which its format is told. */
export const HEAD = 512;
const MAX_STEM = 100;

const MAGIC = [
  ["png", [0x89, 0x50, 0x4e, 0x47]],
  ["jpg", [0xff, 0xd8, 0xff]],
  ["gif", [0x47, 0x49, 0x46, 0x38]],
  ["bmp", [0x42, 0x4d]],
  ["tif", [0x49, 0x49, 0x2a, 0x00]],
  ["tif", [0x4d, 0x4d, 0x00, 0x2a]],
];
const HEIC = ["heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1"];

/**
 * The format of a file by its first bytes, as an extension; "svg" and "heic" among them.
 * @param {Uint8Array} head
 * @returns {string|null}
 */
export function formatOf(head) {
  const found = MAGIC.find(([, bytes]) => bytes.every((byte, index) => head[index] === byte));
  if (found) return found[0];
  const text = String.fromCharCode(...head);
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return "webp";
  if (text.slice(4, 8) === "ftyp") {
    const brand = text.slice(8, 12);
    return HEIC.includes(brand) ? "heic" : brand.startsWith("avi") ? "avif" : null;
  }
  return /^\W*<(svg|\?xml|!doctype svg|!--)/i.test(text) ? "svg" : null;
}

/**
 * Why a file cannot serve, before anything of it is sent.
 * @param {{name: string, size: number}} file
 * @param {Uint8Array} head - its first `HEAD` bytes.
 * @param {number} limit - bytes that the server takes at once.
 * @returns {import("./entries.js").Problem|null}
 */
export function fileProblem(file, head, limit) {
  const name = shorten(file.name);
  const megabytes = (bytes) => Math.round(bytes / 1024 / 1024);
  if (file.size === 0) return { key: "fileEmpty", values: { name } };
  if (file.size > limit)
    return { key: "fileBig", values: { name, size: megabytes(file.size), most: megabytes(limit) } };
  const format = formatOf(head);
  if (format === "heic") return { key: "fileHeic", values: { name } };
  if (format === "svg") return { key: "fileSvg", values: { name } };
  if (format === "avif") return { key: "fileAvif", values: { name } };
  if (format === null) return { key: "fileUnknown", values: { name } };
  return null;
}

/**
 * The name under which a file is sent: short enough for every disk, with an extension that is true.
 * @param {string} name - as the file is called.
 * @param {string} format - as `formatOf` gives it.
 */
export function uploadName(name, format) {
  const plain = name.split(/[/\\]/).pop();
  const dot = plain.lastIndexOf(".");
  const cut = dot > 0 ? plain.slice(0, dot) : plain;
  const extension = dot > 0 && /^\w{1,5}$/.test(plain.slice(dot + 1)) ? plain.slice(dot + 1) : format;
  const cleaned = cut.replace(/[\p{C}<>:"|?*]/gu, "_").trim();
  const encoder = new TextEncoder();
  let letters = [...cleaned];
  while (encoder.encode(letters.join("")).length > MAX_STEM) letters = letters.slice(0, -1);
  return `${letters.join("").trim() || "picture"}.${extension}`;
}

/**
 * Where ComfyUI shows a file of its input folder.
 * @param {string} file - such as "cast/alice.png".
 * @returns {string} path and query.
 */
export function inputPath(file) {
  const parts = file.replace(/ \[input\]$/, "").split("/");
  const filename = parts.pop();
  // No browser but one shows TIFF; ComfyUI turns it into WebP.
  const preview = /\.tiff?$/i.test(filename) ? { preview: "webp;80" } : {};
  return viewPath({ filename, subfolder: parts.join("/"), type: "input", ...preview });
}

/** Where ComfyUI shows a file of one of its folders: filename, subfolder and type. */
export function viewPath(fields) {
  return `/view?${new URLSearchParams(fields)}`;
}

/**
 * As many files as there is room for, and what to say of the rest.
 * @template T
 * @param {T[]} files
 * @param {number} room - pictures that may still be added.
 * @param {number} most - pictures that the gallery holds.
 * @returns {{taken: T[], problem: import("./entries.js").Problem|null}}
 */
export function fitInto(files, room, most) {
  const taken = files.slice(0, Math.max(0, room));
  if (taken.length === files.length) return { taken, problem: null };
  const values = { given: files.length, taken: taken.length, left: files.length - taken.length, most };
  return { taken, problem: { key: "tooMany", values } };
}
