/** The buttons above the canvas. */

import { element } from "../common/dom.js";

/** [action, label, what it does, whether a picture must be selected] in groups. */
const GROUPS = [
  [
    ["undo", "Undo", "Take the last change back (Ctrl+Z on the canvas)"],
    ["redo", "Redo", "Do it again (Ctrl+Y on the canvas)"],
  ],
  [
    ["official", "Official", "The official layout for layout_seed: removes all boxes of your own"],
    ["shuffle", "Shuffle", "The official layout for the next layout_seed"],
    ["arrange", "Arrange", "Let the shapes and kinds of the pictures choose the layout"],
    ["equalise", "Equal sizes", "Give all pictures the same area"],
  ],
  [
    ["fit", "Fit", "Fit the picture into its cell", true],
    ["fill", "Fill", "Cover its cell with the picture, as far as the canvas allows", true],
    ["centre", "Centre", "Put the picture into the middle of its cell", true],
    ["forward", "Forward", "Paste the picture later, over others (Page Up)", true],
    ["backward", "Backward", "Paste the picture earlier, under others (Page Down)", true],
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
        ...group.map(([action, label, title]) => this.#button(host, action, label, title)),
      ),
    );
    this.colour = element("input", {
      type: "color",
      class: "magref-editor-colour",
      title: "Colour of the blank canvas; MAGREF was trained on white",
      "aria-label": "Background colour",
      onchange: () => host.setColour(this.colour.value),
    });
    const switches = element(
      "div",
      { class: "magref-editor-group", role: "group" },
      this.#button(host, "snap", "Snap", "Snap to cells and to 16 pixels; hold Alt to leave it out"),
      this.#button(host, "mask", "Overlay", "Tint what the mask marks"),
      this.colour,
    );
    this.element = element(
      "div",
      { class: "magref-editor-toolbar", role: "toolbar", "aria-label": "Layout" },
      ...groups,
      switches,
    );
  }

  #button(host, action, label, title) {
    const made = element("button", { type: "button", text: label, title, onclick: () => host.run(action) });
    made.dataset.action = action;
    this.#buttons.set(action, made);
    return made;
  }

  /**
   * Show what can be done.
   * @param {{canUndo: boolean, canRedo: boolean, hasPictures: boolean, isSelected: boolean, isLocked: boolean,
   *   snap: boolean, mask: boolean, colour: string, hasArrange: boolean}} state
   */
  update(state) {
    const isOff = { undo: !state.canUndo, redo: !state.canRedo, snap: false, mask: false };
    for (const [action, , , needsOne] of GROUPS.flat())
      isOff[action] ??= !state.hasPictures || (needsOne && !state.isSelected);
    for (const name of ["official", "shuffle"]) isOff[name] = false;
    isOff.arrange = !state.hasArrange;
    for (const [action, button] of this.#buttons)
      button.disabled = isOff[action] || (state.isLocked && action !== "snap" && action !== "mask");
    for (const name of ["snap", "mask"]) this.#buttons.get(name).setAttribute("aria-pressed", String(state[name]));
    if (this.colour.value !== state.colour) this.colour.value = state.colour;
    this.colour.disabled = state.isLocked;
  }
}
