/** The pictures themselves, as the browser decodes them. */

import { say } from "./words.js";

/** Longest side, in pixels, that is kept of a picture; more is never seen on the canvas. */
const LONGEST = 2048;

/**
 * @typedef {Object} Loaded
 * @property {string} name - of the reference.
 * @property {string} kind
 * @property {string} [subject] - the name that several photos share.
 * @property {number} width - of the reference, in pixels; the bitmap may be smaller.
 * @property {number} height
 * @property {ImageBitmap} bitmap
 */

/** Decoded pictures by address; they stay until `keepOnly` is told that others are shown. */
export class PictureStore {
  #kept = new Map();

  /** @param {(path: string) => Promise<Response>} fetchPicture - the host's fetch. */
  constructor(fetchPicture) {
    this.fetchPicture = fetchPicture;
  }

  /**
   * Decode pictures.
   * @param {{name: string, kind: string, subject?: string, path: string, label: string, width?: number,
   *   height?: number}[]} wanted - path: on the server; label: what a message calls it; width and height: of the reference, if known.
   * @returns {Promise<Loaded[]>}
   * @throws {Error} a picture cannot be read; the message is one sentence.
   */
  async load(wanted) {
    return await Promise.all(
      wanted.map(async ({ name, kind, subject, path, label, width, height }) => {
        if (!this.#kept.has(path)) this.#kept.set(path, this.#decode(path, label));
        try {
          const decoded = await this.#kept.get(path);
          const size = { width: width ?? decoded.width, height: height ?? decoded.height };
          return { name, kind, subject, bitmap: decoded.bitmap, ...size };
        } catch (error) {
          this.#kept.delete(path); // so that it is asked for again
          throw error;
        }
      }),
    );
  }

  /**
   * Let go of all pictures but these; none of the others may be drawn any more.
   * @param {{path: string}[]} wanted
   */
  keepOnly(wanted) {
    const paths = new Set(wanted.map(({ path }) => path));
    for (const [path, picture] of this.#kept) if (!paths.has(path)) this.#release(path, picture);
  }

  #release(path, picture) {
    this.#kept.delete(path);
    picture.then(({ bitmap }) => bitmap.close()).catch(() => {}); // one that failed holds nothing
  }

  async #decode(path, label) {
    const blob = (await this.#get(path)) ?? null;
    if (!blob) throw new Error(say("gone", { label }));
    const whole = (await decode(blob)) ?? (await decode(await this.#get(`${path}&preview=webp;90`)));
    if (!whole) throw new Error(say("unreadPicture", { label }));
    const { width, height } = whole;
    const scale = LONGEST / Math.max(width, height);
    if (scale >= 1) return { bitmap: whole, width, height };
    const resizeWidth = Math.max(1, Math.round(width * scale));
    const resizeHeight = Math.max(1, Math.round(height * scale));
    const bitmap = await createImageBitmap(whole, { resizeWidth, resizeHeight, resizeQuality: "high" });
    whole.close();
    return { bitmap, width, height };
  }

  async #get(path) {
    const response = await this.fetchPicture(path);
    return response.ok ? await response.blob() : null;
  }
}

/** Upright and without colour management, as the server reads it; null if it is no picture. */
async function decode(blob) {
  if (!blob?.size) return null;
  try {
    return await createImageBitmap(blob, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    return null;
  }
}

/**
 * The server's path of a file in one of its folders.
 * @param {{filename: string, subfolder?: string, type?: string, isOpaque?: boolean}} file
 * @returns {string}
 */
export function viewPath({ filename, subfolder = "", type = "input", isOpaque = false }) {
  const channel = isOpaque ? { channel: "rgb" } : {};
  return `/view?${new URLSearchParams({ filename, subfolder, type, ...channel })}`;
}

/**
 * The same for a name in the input folder, such as "cast/alice.png".
 * @param {string} file
 * @param {boolean} [isOpaque] - leave the transparency out.
 */
export function inputPath(file, isOpaque = false) {
  const parts = file.replace(/ \[input\]$/, "").split("/");
  return viewPath({ filename: parts.pop(), subfolder: parts.join("/"), isOpaque });
}
