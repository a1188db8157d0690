/** The line below a prompt that says who is named in it. */

import { element } from "../common/dom.js";
import { mentionOf } from "./mentions.js";
import { picture } from "./picture.js";

const SIGNS = { known: "@", word: "", unused: "", unknown: "@", ambiguous: "@", nameless: "@", twofold: "" };

/** One line of chips; what one of them can mend is done when it is pressed. */
export class Chips {
  #shown = "";

  /**
   * @param {{say: function(string, Object=): string, url: function(string): string,
   *   write: function(import("./check.js").Finding, string): void}} host - write: puts a mention into the prompt, in
   *   place of the one that is wrong, if there is one.
   */
  constructor(host) {
    this.host = host;
    this.element = element("div", { class: "magref-chips", role: "group", "aria-label": host.say("checks") });
    this.element.setAttribute("data-capture-wheel", "true");
    this.element.addEventListener("wheel", (event) => this.#scroll(event));
  }

  /**
   * @param {import("./check.js").Finding[]} findings
   * @param {import("./subjects.js").Named[]} subjects
   * @param {boolean} canWrite - whether the prompt is written here; one that comes over a link is only judged.
   */
  show(findings, subjects, canWrite) {
    this.element.setAttribute("aria-label", this.host.say("checks"));
    const key = JSON.stringify([findings, subjects, canWrite]);
    if (key === this.#shown) return;
    this.#shown = key;
    const focused = [...this.element.children].indexOf(document.activeElement);
    this.element.replaceChildren(...findings.map((finding) => this.#chip(finding, subjects, canWrite)));
    if (focused >= 0) this.element.children[Math.min(focused, findings.length - 1)]?.focus();
  }

  #chip(finding, subjects, canWrite) {
    const { state, count } = finding;
    const { say, url } = this.host;
    const subject = subjects[finding.subject];
    const near = finding.suggestion ? subjects.findIndex(({ name }) => name === finding.suggestion) : -1;
    const mended = state === "unused" ? finding.subject : near;
    const mention = mended >= 0 ? mentionOf(mended, subjects).trim() : null;
    const [one, other] = (finding.subjects ?? []).map((index) => subjects[index].name);
    const name = subject?.name ?? finding.name;
    const sentence = say(keyOf(finding, mention, canWrite), { name, word: subject?.word, count, mention, one, other });
    const parts = [
      ...(subject ? [picture(subject, url)] : []),
      element("span", { class: "magref-chip-name", text: `${SIGNS[state]}${name || "?"}` }),
      ...(count > 1 ? [element("span", { class: "magref-chip-count", text: `×${count}` })] : []),
      ...(near >= 0 ? [element("span", { class: "magref-chip-near", text: `→ ${mention}` })] : []),
    ];
    const about = { class: "magref-chip", dataset: { state }, title: sentence, "aria-label": sentence };
    if (mention === null || !canWrite) return element("span", { ...about, role: "img" }, ...parts);
    return element("button", { ...about, type: "button", onclick: () => this.host.write(finding, mention) }, ...parts);
  }

  /** The wheel moves a line that is longer than its node sideways. */
  #scroll(event) {
    if (event.ctrlKey || this.element.scrollWidth <= this.element.clientWidth) return;
    event.stopPropagation();
    event.preventDefault();
    this.element.scrollLeft += event.deltaY + event.deltaX;
  }
}

function keyOf({ state, count }, mention, canWrite) {
  if (state === "known" && count > 1) return "knownTimes";
  const key = state === "unknown" && mention ? "unknownNear" : state;
  return mention === null || canWrite ? key : `${key}Elsewhere`;
}
