/** The buttons above the canvas. */

import { element } from "../common/dom.js";
import { say } from "./words.js";

/** [action, whether a picture must be selected] in groups. */
const GROUPS = [
  [["undo"], ["redo"]],
  [["official"], ["shuffle"], ["arrange"], ["equalise"]],
  [
    ["fit", true],
    ["fill", true],
    ["centre", true],
    ["forward", true],
    ["backward", true],
  ],
];

/** Buttons, switches and the colour. */
export class Toolbar {
  #buttons = new Map();

  /** @param {{run: (action: string) => void, setColour: (colour: string) => void}} host */
  constructor(host) {
    const groups = GROUPS.map((group) =>
      element(
        "div",
        { class: "magref-editor-group", role: "group" },
        ...group.map(([action]) => this.#button(host, action)),
      ),
    );
    this.colour = element("input", {
      type: "color",
      class: "magref-editor-colour",
      title: say("colourHint"),
      "aria-label": say("colour"),
      onchange: () => host.setColour(this.colour.value),
    });
    const switches = element(
      "div",
      { class: "magref-editor-group", role: "group" },
      this.#button(host, "snap"),
      this.#button(host, "mask"),
      this.colour,
    );
    this.element = element(
      "div",
      { class: "magref-editor-toolbar", role: "toolbar", "aria-label": say("layout") },
      ...groups,
      switches,
    );
  }

  #button(host, action) {
    const title = say(`${action}Hint`);
    const made = element("button", { type: "button", text: say(action), title, onclick: () => host.run(action) });
    made.dataset.action = action;
    this.#buttons.set(action, made);
    return made;
  }

  /**
   * Show what can be done.
   * @param {{canUndo: boolean, canRedo: boolean, hasPictures: boolean, isSelected: boolean, isLocked: boolean,
   *   snap: boolean, mask: boolean, colour: string, hasArrange: boolean, linked: string[]}} state - linked: names of
   *   the settings that come over links, so that a button cannot set them.
   */
  update(state) {
    const isOff = { undo: !state.canUndo, redo: !state.canRedo, snap: false, mask: false };
    for (const [action, needsOne] of GROUPS.flat())
      isOff[action] ??= !state.hasPictures || (needsOne && !state.isSelected);
    for (const name of ["official", "shuffle"]) isOff[name] = false;
    isOff.arrange = !state.hasArrange || state.linked.includes("order");
    isOff.shuffle = state.linked.includes("order") || state.linked.includes("layout_seed");
    for (const [action, button] of this.#buttons)
      button.disabled = isOff[action] || (state.isLocked && action !== "snap" && action !== "mask");
    for (const name of ["snap", "mask"]) this.#buttons.get(name).setAttribute("aria-pressed", String(state[name]));
    if (this.colour.value !== state.colour) this.colour.value = state.colour;
    this.colour.disabled = state.isLocked || state.linked.includes("background");
  }
}
