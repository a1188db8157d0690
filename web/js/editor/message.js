/** The sentence under the canvas, and the button that mends what it complains of. */

import { element } from "../common/dom.js";
import { say } from "./words.js";

/** One line; it speaks to screen readers too. */
export class Message {
  /** @param {() => void} repair - the button was pressed. */
  constructor(repair) {
    this.status = element("p", { class: "magref-editor-status", role: "status" });
    this.button = element("button", { type: "button", text: say("repair"), title: say("repairHint"), onclick: repair });
    this.element = element("div", { class: "magref-editor-message" }, this.status, this.button);
  }

  /**
   * Show the first sentence that is not empty.
   * @param {{problems: (string|null)[], notes: string[], canRepair: boolean}} state - problems come before notes.
   */
  update({ problems, notes, canRepair }) {
    const problem = problems.find(Boolean);
    const sentence = problem ?? notes.find(Boolean) ?? "";
    // Not written anew where it is the same: a screen reader would say it again.
    if (this.status.textContent !== sentence) this.status.textContent = sentence;
    this.status.classList.toggle("problem", Boolean(problem));
    this.button.hidden = !canRepair;
  }
}

/** The text with a capital letter in front. */
export function capitalised(text) {
  return text && `${text[0].toUpperCase()}${text.slice(1)}`;
}
