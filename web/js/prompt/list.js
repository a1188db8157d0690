/** The list of names that opens at the caret. */

import { element } from "../common/dom.js";
import { picture } from "./picture.js";

const GAP = 4;
const NONE = -1;
let lists = 0;

/** One list; the text box keeps the focus, and says to screen readers which name is chosen. */
export class NameList {
  #items = [];
  #active = 0;

  /**
   * @param {HTMLTextAreaElement} box
   * @param {{say: function(string, Object=): string, url: function(string): string, choose: function(number): void}}
   *   host - url: the address of a path of ComfyUI's; choose: told the index of the subject.
   */
  constructor(box, host) {
    this.box = box;
    this.host = host;
    const id = `magref-names-${++lists}`;
    this.element = element("ul", { class: "magref-names", role: "listbox", id, "aria-label": host.say("names") });
    // What is pressed here must not take the focus from the box, and is none of the graph's.
    for (const kind of ["pointerdown", "mousedown", "click", "wheel", "contextmenu"])
      this.element.addEventListener(kind, (event) => {
        event.stopPropagation();
        if (kind !== "wheel") event.preventDefault();
      });
  }

  get isOpen() {
    return this.element.isConnected;
  }

  /** The subject that would be taken now; undefined where none is chosen. */
  get active() {
    return this.#items[this.#active]?.index;
  }

  /**
   * Open at a place, or show other names there.
   * @param {{index: number, subject: import("./subjects.js").Named, isUsed: boolean}[]} items
   * @param {DOMRect} place - of the @.
   * @param {boolean} isChosen - whether the first is chosen from the start; else none is.
   */
  show(items, place, isChosen) {
    const known = JSON.stringify([items, isChosen]);
    if (this.isOpen && known === this.known) return;
    this.known = known;
    this.#items = items;
    this.element.replaceChildren(...items.map((item, at) => this.#option(item, at)));
    if (!this.isOpen) document.body.append(this.element);
    this.#tell({ role: "combobox", "aria-autocomplete": "list", "aria-haspopup": "listbox", "aria-expanded": "true" });
    this.box.setAttribute("aria-controls", this.element.id);
    this.#place(place);
    this.#choose(isChosen ? 0 : NONE);
  }

  #option({ index, subject, isUsed }, at) {
    const { say, url } = this.host;
    const values = { name: subject.name, kind: say(subject.kind), word: subject.word };
    const hasWord = subject.word !== subject.name.replaceAll("_", " ");
    const made = element(
      "li",
      { role: "option", id: `${this.element.id}-${at}`, "aria-label": say(hasWord ? "optionWord" : "option", values) },
      picture(subject, url),
      element("span", { class: "magref-names-name", text: subject.name }),
      element("span", { class: "magref-names-about", text: hasWord ? `${values.kind} · ${subject.word}` : values.kind }),
      element("span", { class: "magref-names-used", title: isUsed ? say("mentioned") : "", text: isUsed ? "✓" : "" }),
    );
    made.addEventListener("pointermove", () => this.#choose(at));
    made.addEventListener("click", () => this.host.choose(index));
    return made;
  }

  /** Below the line of the @, or above it where there is no room; always on the page. */
  #place({ left, top, bottom }) {
    const { offsetWidth, offsetHeight } = this.element;
    const isBelow = bottom + GAP + offsetHeight <= innerHeight || top < offsetHeight + GAP;
    const x = Math.max(GAP, Math.min(left, innerWidth - offsetWidth - GAP));
    const y = isBelow ? bottom + GAP : top - GAP - offsetHeight;
    Object.assign(this.element.style, { left: `${x}px`, top: `${y}px` });
  }

  /** Choose the name some places further on; behind the last comes the first, and so where none is chosen. */
  step(places) {
    const { length } = this.#items;
    const from = this.#active === NONE && places < 0 ? 0 : this.#active;
    this.#choose((from + places + length) % length);
  }

  #choose(at) {
    this.#active = at;
    for (const [number, option] of [...this.element.children].entries())
      option.setAttribute("aria-selected", String(number === at));
    this.element.children[at]?.scrollIntoView({ block: "nearest" });
    if (at === NONE) this.box.removeAttribute("aria-activedescendant");
    else this.box.setAttribute("aria-activedescendant", `${this.element.id}-${at}`);
  }

  #tell(attributes) {
    for (const [name, value] of Object.entries(attributes)) this.box.setAttribute(name, value);
  }

  close() {
    if (!this.isOpen) return;
    this.element.remove();
    for (const name of ["role", "aria-autocomplete", "aria-haspopup", "aria-expanded", "aria-controls"])
      this.box.removeAttribute(name);
    this.box.removeAttribute("aria-activedescendant");
  }
}
