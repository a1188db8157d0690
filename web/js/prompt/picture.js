/** The small picture of a subject. */

import { element } from "../common/dom.js";
import { inputPath } from "../gallery/files.js";

const SIGNS = { person: "☺", object: "◆", background: "▦" };

/**
 * @param {import("./subjects.js").Named} subject
 * @param {function(string): string} url - the address of a path of ComfyUI's.
 * @returns {HTMLElement} a sign for its kind where its picture cannot be seen before a run.
 */
export function picture({ kind, file }, url) {
  const sign = () => element("span", { class: "magref-face", "aria-hidden": "true", text: SIGNS[kind] ?? "◆" });
  if (file === undefined) return sign();
  const image = element("img", { class: "magref-face", src: url(inputPath(file)), alt: "", draggable: "false" });
  image.addEventListener("error", () => image.replaceWith(sign()));
  return image;
}
