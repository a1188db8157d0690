/** What stands above the cards: a button to add pictures, how many there are, and a button to show the text. */

import { element } from "../common/dom.js";

/** The line above the cards. */
export class Bar {
  /**
   * @param {function(string, Object=): string} say - the word list.
   * @param {{add: function(): void, turn: function(): void}} actions - add pictures; show text or cards.
   */
  constructor(say, { add, turn }) {
    this.say = say;
    this.addButton = element("button", { type: "button", dataset: { focus: "add" }, onclick: add });
    this.textButton = element("button", { type: "button", dataset: { focus: "text" }, onclick: turn });
    this.count = element("span", { class: "magref-note" });
    const gap = element("span", { class: "magref-gap" });
    this.element = element("div", { class: "magref-bar" }, this.addButton, gap, this.count, this.textButton);
  }

  /**
   * @param {{isBroken: boolean, isLinked: boolean, isText: boolean, held: number, most: number}} state - isBroken:
   *   the value cannot be read; held: pictures in the list; most: that it takes.
   */
  update({ isBroken, isLinked, isText, held, most }) {
    this.element.hidden = isLinked;
    this.addButton.textContent = this.say("add");
    this.addButton.disabled = isBroken;
    this.textButton.textContent = this.say(isText || isBroken ? "asCards" : "asText");
    this.textButton.disabled = isBroken;
    this.count.textContent = `${held} / ${most}`;
  }
}
