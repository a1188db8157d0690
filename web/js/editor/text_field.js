/** The placements as text, for those who want to type or to copy them. */

import { element } from "../common/dom.js";
import { say } from "./words.js";

/** A folded text area; its text counts when it is left, or with Ctrl+Enter. */
export class TextField {
  #value = "";

  /** @param {(text: string) => void} take - told a text that differs from the value. */
  constructor(take) {
    this.take = take;
    this.area = element("textarea", {
      rows: "4",
      spellcheck: "false",
      "aria-label": say("jsonLabel"),
      placeholder: say("jsonEmpty"),
    });
    this.area.addEventListener("change", () => this.#leave());
    this.area.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#leave();
    });
    const summary = element("summary", { text: say("json") });
    this.element = element("details", { class: "magref-editor-text" }, summary, this.area);
  }

  #leave() {
    if (this.area.value !== this.#value) this.take(this.area.value);
  }

  /** Show the value, unless a text that was refused is still being worked on. */
  update(value) {
    const isTyping = document.activeElement === this.area || (value === this.#value && this.area.value !== value);
    this.#value = value;
    if (!isTyping || !this.area.value) this.area.value = value;
  }
}
