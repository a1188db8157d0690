/** Below and beside the canvas: what the model will see, numbers for each picture, and findings in words. */

import { element } from "../common/dom.js";
import { capitalised } from "./message.js";
import { say } from "./words.js";

/** What can be looked at, and the words for it; the first is the editor itself. */
const VIEWS = [
  ["edit", "viewEdit"],
  ["canvas", "viewCanvas"],
  ["mask", "viewMask"],
  ["latent_mask", "viewLatentMask"],
  ["clip", "viewClip"],
];

const COLUMNS = [
  ["picture", ({ reference }) => reference],
  ["pixels", ({ pixels }) => pixels.toLocaleString("en")],
  ["cells", ({ latent_cells: cells }) => String(cells)],
  ["tokens", ({ tokens }) => String(tokens)],
  ["scale", ({ scale }) => `${scale.toFixed(2)} x`],
  ["face", ({ face_height: face }) => (face == null ? "–" : `${Math.round(face)} px`)],
];

const SIGNS = { error: "✕", warning: "!", info: "i" };

/** Tabs above the picture. */
export class Tabs {
  #buttons = new Map();
  current = "edit";

  /** @param {(view: string) => void} choose */
  constructor(choose) {
    for (const [view, key] of VIEWS) {
      const [text, title] = [say(key), say(`${key}Hint`)];
      const made = element("button", { type: "button", role: "tab", text, title, onclick: () => choose(view) });
      made.dataset.view = view;
      this.#buttons.set(view, made);
    }
    this.element = element("div", { class: "magref-editor-tabs", role: "tablist" }, ...this.#buttons.values());
    this.element.addEventListener("keydown", (event) => this.#key(event, choose));
    this.update("edit", []);
  }

  #key(event, choose) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const open = [...this.#buttons].filter(([, button]) => !button.disabled).map(([view]) => view);
    const next = open[(open.indexOf(this.current) + step + open.length) % open.length];
    choose(next);
    this.#buttons.get(next).focus();
  }

  /** What the chosen view is called. */
  get title() {
    return this.#buttons.get(this.current).textContent;
  }

  /** Mark the chosen view; those that no picture is known of cannot be chosen. */
  update(current, known) {
    this.current = current;
    for (const [view, button] of this.#buttons) {
      button.setAttribute("aria-selected", String(view === current));
      button.tabIndex = view === current ? 0 : -1;
      button.disabled = view !== "edit" && view !== current && !known.includes(view);
    }
  }
}

/** Numbers and findings. */
export class Panel {
  /** @param {(name: string) => void} select - a name in the table was pressed. */
  constructor(select) {
    this.select = select;
    this.numbers = element("table", { class: "magref-editor-numbers" });
    this.findings = element("ul", { class: "magref-editor-findings" });
    this.note = element("p", { class: "magref-editor-note" });
    this.element = element("div", { class: "magref-editor-panel" }, this.numbers, this.findings, this.note);
    this.element.dataset.captureWheel = "true";
  }

  /**
   * @param {{report: Object|null, names: string[], selected: string|null, note: string}} state - names: of the
   *   pictures, shown where there is no report yet.
   */
  update({ report, names, selected, note }) {
    const subjects = report?.subjects ?? [];
    const columns = subjects.length ? COLUMNS : COLUMNS.slice(0, 1);
    const rows = subjects.length ? subjects : names.map((reference) => ({ reference }));
    const heads = columns.map(([key]) => {
      const title = key === "picture" ? "" : say(`${key}Hint`);
      return element("th", { text: say(key), title, scope: "col" });
    });
    const body = rows.map((row) => this.#row(row, columns, selected));
    const focused = this.numbers.contains(document.activeElement) && document.activeElement.textContent;
    this.numbers.replaceChildren(...(rows.length ? [element("tr", {}, ...heads), ...body] : []));
    if (focused) [...this.numbers.querySelectorAll("button")].find((made) => made.textContent === focused)?.focus();
    this.findings.replaceChildren(...(report?.findings ?? []).map(finding));
    this.note.textContent = note;
    this.note.hidden = !note;
  }

  #row(subject, columns, selected) {
    const isSelected = subject.reference === selected;
    const button = element("button", {
      type: "button",
      text: subject.reference,
      "aria-pressed": String(isSelected),
      onclick: () => this.select(subject.reference),
    });
    const [, ...numbers] = columns;
    const cells = numbers.map(([, write]) => element("td", { text: write(subject) }));
    return element("tr", { class: isSelected ? "selected" : "" }, element("th", { scope: "row" }, button), ...cells);
  }
}

function finding({ severity, code, text, remedy }) {
  const kind = severity in SIGNS ? severity : "info";
  const word = say(kind);
  const made = element(
    "li",
    { class: `magref-editor-finding ${kind}` },
    element("span", { class: "sign", text: SIGNS[kind], role: "img", "aria-label": word, title: word }),
    element("span", { text: capitalised(remedy ? `${text}: ${remedy}.` : text) }),
  );
  made.dataset.code = code;
  return made;
}
