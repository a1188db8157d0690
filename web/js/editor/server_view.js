/** A picture that the server made of the canvas, in place of the editor's own. */

import { element } from "../common/dom.js";

/** Shows one view at a time. */
export class ServerView {
  constructor() {
    this.element = element("img", { class: "magref-editor-view", alt: "", hidden: true });
  }

  /**
   * @param {string} name - of the view, as in the report; "edit" for none.
   * @param {string} title - of the view, for those who cannot see it.
   * @param {string|undefined} address - of the picture, if there is one.
   */
  show(name, title, address) {
    const isShown = name !== "edit" && Boolean(address);
    this.element.hidden = !isShown;
    if (isShown && this.element.getAttribute("src") !== address) this.element.src = address;
    this.element.alt = isShown ? title : "";
    this.element.dataset.view = name;
  }
}
