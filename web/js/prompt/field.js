/** One text box in which names are completed, highlighted and checked. */

import { keepFromGraph } from "../common/keys.js";
import { check, isBeingTyped } from "./check.js";
import { candidates, completion, isComplete, queryAt } from "./completion.js";
import { NameList } from "./list.js";
import { Mirror } from "./mirror.js";

const TAKING = ["Enter", "Tab"];
const STEPS = { ArrowDown: 1, ArrowUp: -1 };
/** Pixels that the box may move under an open list. */
const SLACK = 1;

/** Beside one text box; the box itself, its value and its undo stay ComfyUI's. */
export class PromptField {
  #query = null;
  #place = null;
  /** What was dismissed by Escape: the place of its @. */
  #dismissed = -1;

  /**
   * @param {HTMLTextAreaElement} box
   * @param {{say: function(string, Object=): string, url: function(string): string,
   *   subjects: function(): import("./subjects.js").Named[]|null,
   *   tell: function(import("./check.js").Finding[]): void}} host - subjects: null where they are not known; tell: what
   *   was found, after each look.
   */
  constructor(box, host) {
    this.box = box;
    this.host = host;
    this.mirror = new Mirror(box);
    this.list = new NameList(box, { ...host, choose: (index) => this.#take(index) });
    this.listeners = new AbortController();
    const { signal } = this.listeners;
    box.addEventListener("keydown", (event) => this.#onKey(event), { signal, capture: true });
    box.addEventListener("input", (event) => this.#onInput(event), { signal });
    box.addEventListener("compositionend", () => this.#onInput(null), { signal });
    for (const kind of ["blur", "scroll", "pointerdown"])
      box.addEventListener(kind, () => this.#close(), { signal });
  }

  /** Look at the text again, and tell what was found. */
  look() {
    const { box } = this;
    const subjects = this.host.subjects();
    if (!subjects) this.#close();
    const { mentions, findings } = subjects ? check(box.value, subjects) : { mentions: [], findings: [] };
    const caret = document.activeElement === box ? box.selectionStart : -1;
    const typed = mentions.find((mention) => isBeingTyped(mention, caret, subjects.map(({ name }) => name)));
    this.mirror.show(box.value, mentions.filter((mention) => mention !== typed));
    this.host.tell(findings.filter(({ mention }) => !mention || mention !== typed));
  }

  /**
   * Write a text as if it were typed, so that the browser can undo it and ComfyUI hears of it.
   * @param {number} begin
   * @param {number} end
   * @param {string} text - in place of what stands there.
   */
  write(begin, end, text) {
    this.box.focus({ preventScroll: true });
    this.box.setSelectionRange(begin, end);
    if (document.execCommand("insertText", false, text)) return;
    this.box.setRangeText(text, begin, end, "end");
    this.box.dispatchEvent(new InputEvent("input", { bubbles: true, inputType: "insertText", data: text }));
  }

  /** Leave the box alone from now on. */
  remove() {
    this.#close();
    this.listeners.abort();
    this.mirror.remove();
  }

  #onInput(event) {
    if (event?.isComposing) return;
    this.look();
    this.#offer();
  }

  /** Open the list where a name is being typed, else close it. */
  #offer() {
    const { box } = this;
    const subjects = this.host.subjects();
    const isCaret = box.selectionStart === box.selectionEnd && document.activeElement === box;
    const query = subjects && isCaret ? queryAt(box.value, box.selectionStart, subjects) : null;
    if (query?.begin !== this.#dismissed) this.#dismissed = -1;
    if (!query || query.begin === this.#dismissed) return this.#close();
    const used = new Set(check(box.value, subjects).mentions.flatMap((mention) => mention.subjects));
    const items = candidates(query.text, subjects, used).map((index) => ({
      index,
      subject: subjects[index],
      isUsed: used.has(index),
    }));
    if (!items.length) return this.#close();
    this.#query = query;
    const isNew = !this.list.isOpen;
    this.list.show(items, this.mirror.whereIs(query.begin), !isComplete(box.value, box.selectionStart, subjects));
    if (isNew) this.#watch();
    return undefined;
  }

  /** Close the list as soon as the box is moved, scaled or gone. */
  #watch() {
    this.#place = this.box.getBoundingClientRect();
    const look = () => {
      if (!this.list.isOpen) return;
      const now = this.box.getBoundingClientRect();
      const isMoved = ["left", "top", "width"].some((side) => Math.abs(now[side] - this.#place[side]) > SLACK);
      if (isMoved || !this.box.isConnected) this.#close();
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }

  #onKey(event) {
    if (!this.list.isOpen || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = STEPS[event.key];
    const isTaking = TAKING.includes(event.key) && !event.shiftKey && this.list.active !== undefined;
    if (step) this.list.step(step);
    else if (isTaking) this.#take(this.list.active);
    else if (event.key === "Escape") {
      this.#dismissed = this.#query.begin;
      this.#close();
    } else {
      keepFromGraph(event);
      if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) this.#close();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  #take(index) {
    const subjects = this.host.subjects();
    const query = this.#query;
    this.#close();
    if (!subjects?.[index] || !query) return;
    const { begin, end, text } = completion(query, index, subjects, this.box.value);
    this.write(begin, end, text);
    this.#close();
    this.look();
  }

  #close() {
    this.#query = null;
    this.list.close();
  }
}
