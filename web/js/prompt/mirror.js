/** The highlights of a text box: a copy of its text that lies over it, of which only the marks are seen. */

import { element } from "../common/dom.js";

/** What makes the copy break its lines as the box does. */
const COPIED = [
  "fontFamily",
  "fontSize",
  "fontStyle",
  "fontWeight",
  "fontStretch",
  "letterSpacing",
  "lineHeight",
  "tabSize",
  "textAlign",
  "textIndent",
  "textTransform",
  "wordSpacing",
  "direction",
  "paddingTop",
  "paddingBottom",
  "paddingLeft",
];

/** The copy of one text box. */
export class Mirror {
  #shown = "";

  /** @param {HTMLTextAreaElement} box */
  constructor(box) {
    this.box = box;
    this.text = element("div", { class: "magref-mirror-text" });
    this.element = element("div", { class: "magref-mirror", "aria-hidden": "true" }, this.text);
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(box);
    box.addEventListener("scroll", this.follow);
  }

  /** Put the marks where they belong, and bring the copy back where ComfyUI has moved the box. */
  show(text, marks) {
    if (this.element.previousElementSibling !== this.box) this.box.after(this.element);
    const key = JSON.stringify([text, marks]);
    if (key !== this.#shown) {
      this.#shown = key;
      this.text.replaceChildren(...this.#parts(text, marks));
    }
    this.fit();
  }

  #parts(text, marks) {
    const parts = [];
    let place = 0;
    for (const { begin, end, state } of marks) {
      parts.push(text.slice(place, begin), element("mark", { dataset: { state }, text: text.slice(begin, end) }));
      place = end;
    }
    // A line break at the end is seen only if something stands behind it.
    return [...parts, `${text.slice(place)}\u200b`];
  }

  /** Lie exactly over the box, and break lines as it does. */
  fit() {
    const { box, element: cover } = this;
    const look = getComputedStyle(box);
    for (const name of COPIED) if (this.text.style[name] !== look[name]) this.text.style[name] = look[name];
    const place = {
      left: `${box.offsetLeft + box.clientLeft}px`,
      top: `${box.offsetTop + box.clientTop}px`,
      width: `${box.clientWidth}px`,
      height: `${box.clientHeight}px`,
    };
    Object.assign(cover.style, place);
    this.text.style.paddingRight = look.paddingRight;
    this.follow();
  }

  follow = () => {
    this.text.style.translate = `${-this.box.scrollLeft}px ${-this.box.scrollTop}px`;
  };

  /**
   * Where a place of the text is seen.
   * @param {number} place
   * @returns {DOMRect} of the page.
   */
  whereIs(place) {
    let left = place;
    const walker = document.createTreeWalker(this.text, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      // At the seam of two nodes the letter is in the second.
      if (left < node.data.length) {
        const range = document.createRange();
        range.setStart(node, left);
        range.setEnd(node, left + 1);
        return range.getClientRects()[0] ?? range.getBoundingClientRect();
      }
      left -= node.data.length;
    }
    return this.box.getBoundingClientRect();
  }

  /** Leave the box alone from now on. */
  remove() {
    this.observer.disconnect();
    this.box.removeEventListener("scroll", this.follow);
    this.element.remove();
  }
}
