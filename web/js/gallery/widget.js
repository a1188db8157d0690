/** The gallery: what MAGREF Load References shows in place of its text. */

import { element } from "../common/dom.js";
import { keepFromGraph } from "../common/keys.js";
import { Bar } from "./bar.js";
import { button, makeCard } from "./card.js";
import { letCardsBeDragged } from "./drag.js";
import * as list from "./entries.js";
import { fetchExamples, isExample } from "./examples.js";
import { fitInto } from "./files.js";
import { Intake } from "./intake.js";
import { makeTransfer, showShare } from "./transfer.js";

const FORMATS = "image/png,image/jpeg,image/webp,image/gif,image/tiff,image/bmp";
const MOVES = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 };

/**
 * @typedef {Object} GalleryHost - what the gallery needs of the page.
 * @property {Object} api - ComfyUI's.
 * @property {function(string, Object=): string} say - the word list.
 * @property {function(): Map<string, string>} sources - connected socket, such as "image_1" -> what feeds it.
 * @property {function(): "linked"|"promoted"|null} feed - how the value comes, if not from the gallery.
 * @property {function(): number} limit - bytes that the server takes at once.
 * @property {function(function(): void): void} transaction - runs a change that can be undone.
 * @property {function(number): void} onGrow - told how many cards there are after the user added one.
 */

/** One gallery; `element` is its place on the page and `value` its text. */
export class Gallery {
  /** @param {GalleryHost} host */
  constructor(host) {
    this.host = host;
    this.say = host.say;
    this.text = "[]";
    this.shown = new Map();
    this.asked = new Map();
    this.examples = new Set();
    this.sentences = [];
    this.isText = false;
    this.intake = new Intake(host.api, {
      onFile: (file, name, target) => this.takeFile(file, name, target),
      onProblem: (problem) => this.tell(problem),
      onChange: () => this.render(),
      onProgress: (transfer) => this.showProgress(transfer),
      limit: host.limit,
    });
    this.build();
    this.render();
  }

  /** @private */
  build() {
    this.list = element("ul", { class: "magref-list", "aria-label": this.say("list") });
    this.list.setAttribute("data-capture-wheel", "true");
    this.notices = element("div", { class: "magref-notices", role: "status" });
    this.bar = new Bar(this.say, { add: () => this.choose(null), turn: () => this.turn() });
    this.box = element("textarea", { class: "magref-text", spellcheck: "false", "aria-label": this.say("textLabel") });
    this.box.setAttribute("data-capture-wheel", "true");
    this.box.addEventListener("change", () => this.takeText());
    this.chooser = element("input", { type: "file", accept: FORMATS, multiple: true, hidden: true });
    this.chooser.addEventListener("change", () => {
      const files = [...this.chooser.files];
      this.chooser.value = "";
      this.add(files, this.chooserTarget);
    });
    this.element = element("div", { class: "magref-gallery", dataset: { testid: "magref-gallery" } });
    this.element.append(this.bar.element, this.notices, this.list, this.box, this.chooser);
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
      this.element.addEventListener(kind, (event) => this.onDrag(event));
    letCardsBeDragged(this.list, (from, to) => this.move(from, to));
  }

  /** The text that is saved and sent. */
  get value() {
    return this.text;
  }

  /** Whatever is set is kept as it is; what cannot be read is shown as text with a sentence. */
  set value(text) {
    this.text = typeof text === "string" ? text : JSON.stringify(text ?? []);
    this.asked.clear();
    this.examples.clear();
    this.sentences = [];
    this.isText = Boolean(list.parseEntries(this.text).problem);
    this.render();
  }

  /** Whether the value does not come from here. */
  get isLinked() {
    return this.host.feed() !== null;
  }

  /** The subjects as the server will see them. */
  get rows() {
    return list.withSockets(list.parseEntries(this.text).entries, [...this.host.sources().keys()]);
  }

  /** Tell that nothing can be added to a value that cannot be read, for that would replace it. @private */
  isRefused() {
    const { problem } = list.parseEntries(this.text);
    if (problem) this.tell({ key: "cannotAdd", values: { reason: this.say(problem.key, problem.values) } });
    return Boolean(problem);
  }

  /**
   * Show the pictures of the last run.
   * @param {Object[]} items - `magref_references` of the node's output.
   * @returns {Map<string, Object>} for `showPictures`.
   */
  showRun(items) {
    const sources = this.host.sources();
    const linked = items.filter((item) => sources.has(item.image));
    this.showPictures(new Map(linked.map((item) => [sources.get(item.image), item])));
    return this.shown;
  }

  /** Show the pictures of outputs; one that is connected elsewhere takes its picture along. */
  showPictures(shown) {
    this.shown = shown;
    this.render();
  }

  /** Draw everything again, and leave the focus where it was. */
  render() {
    const active = this.element.contains(document.activeElement) ? document.activeElement : null;
    const focus = active?.dataset.focus;
    const scroll = this.list.scrollTop;
    const { problem } = list.parseEntries(this.text);
    const isLinked = this.isLinked;
    const held = list.countPictures(this.rows);
    this.bar.update({ isBroken: Boolean(problem), isLinked, isText: this.isText, held, most: list.MAX_PICTURES });
    this.renderNotices(problem, isLinked);
    const isText = (this.isText || Boolean(problem)) && !isLinked;
    this.box.hidden = !isText;
    this.list.hidden = isText;
    if (isText && this.box !== active) this.box.value = this.text;
    this.lay(isText ? [] : this.cards(isLinked));
    this.list.scrollTop = scroll;
    // What is gone hands the focus to its card, else to the first button, so that the keyboard can go on.
    const heirs = focus && !active.isConnected ? [focus, focus.split(":")[0], "add"] : [];
    heirs.some((key) => this.focusOn(key));
  }

  /** Put the cards into the list; those that stay are not touched. @private */
  lay(made) {
    const old = [...this.list.children];
    for (const [index, child] of made.entries()) {
      if (!old[index]) this.list.append(child);
      else if (old[index] !== child) old[index].replaceWith(child);
    }
    for (const child of old.slice(made.length)) child.remove();
  }

  /** Show the text instead of the cards, or the cards again. @private */
  turn() {
    this.isText = !this.isText;
    this.sentences = [];
    this.render();
  }

  /** @private */
  renderNotices(problem, isLinked) {
    const { say } = this;
    const found = this.sentences.map((sentence, index) => {
      const dismiss = button("×", say("dismiss"), `notice${index}`, () => {
        this.sentences.splice(index, 1);
        this.render();
      });
      return element("p", {}, element("span", { text: sentence }), dismiss);
    });
    if (this.examples.size && !isLinked) found.push(this.exampleNotice());
    if (isLinked) found.push(element("p", { text: say(this.host.feed()) }));
    else if (problem && !this.sentences.length)
      found.push(element("p", { text: `${say(problem.key, problem.values)} ${say("asGiven")}` }));
    this.notices.replaceChildren(...found);
  }

  /** Offers the example pictures that are missing. @private */
  exampleNotice() {
    const { say, examples } = this;
    const take = element("button", { type: "button", text: say("takeExamples"), dataset: { focus: "examples" } });
    take.addEventListener("click", async () => {
      take.disabled = true;
      const files = await fetchExamples(this.host.api, [...examples]);
      examples.clear();
      await this.intake.take(files, { use: "example" });
      this.lay([]); // the cards are made anew, with their pictures
      this.render();
    });
    const files = [...examples].sort().join(", ");
    return element("p", {}, element("span", { text: say("examples", { files }) }), take);
  }

  /** @private */
  async onMissing(file) {
    if (this.examples.has(file) || !(await isExample(this.host.api, file))) return;
    this.examples.add(file);
    this.render();
  }

  /** @private */
  cards(isLocked) {
    const { say } = this;
    const sources = this.host.sources();
    const { rows } = this;
    const problems = list.problemsOf(rows);
    const url = (path) => this.host.api.apiURL(path);
    const actions = this.actions();
    const isThere = (address) => this.isThere(address);
    const onMissing = (file) => this.onMissing(file);
    const made = rows.map((entry, index) => {
      const isConnected = sources.has(entry.image);
      const isEmpty = entry.image !== undefined && !isConnected && !entry.off;
      const values = { name: entry.name, socket: entry.image };
      const problem = isEmpty ? { key: "socketEmpty", values } : problems[index];
      const sentence = problem ? say(problem.key, problem.values) : "";
      const shown = this.shown.get(sources.get(entry.image));
      const context = { say, url, isThere, onMissing, count: rows.length, shown, isConnected, isLocked };
      const look = JSON.stringify([{ ...entry, name: "", word: "" }, context]);
      const old = this.list.children[index];
      if (old?.look === look) {
        old.refresh(entry, sentence);
        return old;
      }
      return Object.assign(makeCard(entry, index, { ...context, sentence, actions }), { look });
    });
    made.push(...this.intake.transfers.map((one) => makeTransfer(one, say, () => this.intake.cancel(one))));
    return made.length ? made : [element("li", { class: "magref-empty", text: say("drop") })];
  }

  /** Whether the server has a picture; asked once, and again after the value was set. @private */
  isThere(address) {
    const ask = () => fetch(address, { method: "HEAD", cache: "no-store" });
    if (!this.asked.has(address)) this.asked.set(address, ask().then(({ status }) => status !== 404, () => false));
    return this.asked.get(address);
  }

  /** @private */
  showProgress(transfer) {
    const line = this.list.querySelector(`[data-transfer="${transfer.id}"]`);
    if (line) showShare(line, transfer, this.say);
  }

  /** @private */
  actions() {
    return {
      rename: (name, index) => {
        const { entries, problem } = list.rename(this.upTo(index), index, name);
        if (problem) return this.say(problem.key, problem.values);
        this.commit(entries);
        return "";
      },
      reword: (word, index) => {
        const { entries, problem } = list.reword(this.upTo(index), index, word);
        if (problem) return this.say(problem.key, problem.values);
        this.commit(entries);
        return "";
      },
      change: (fields, index) => this.commit(list.change(this.upTo(index), index, fields)),
      refresh: () => this.render(),
      remove: (index) => this.remove(index),
      addPhotos: (index) => this.choose({ index, use: "photo" }),
      removePhoto: (photo, index) => this.commit(list.removePhoto(this.upTo(index), index, photo)),
      replace: (index) => this.choose({ index, use: "replace" }),
    };
  }

  /** The list with the connected pictures that stand before `index`, so that no card changes its place. */
  upTo(index) {
    const { entries } = list.parseEntries(this.text);
    return this.rows.slice(0, Math.max(entries.length, index + 1));
  }

  /** Open the file dialog; `target` says what the files are for, null for new subjects. */
  choose(target) {
    this.chooserTarget = target && { ...target, entry: this.rows[target.index] };
    this.chooser.multiple = target?.use !== "replace";
    this.chooser.click();
  }

  /**
   * Take files in.
   * @param {File[]} files
   * @param {Object|null} [target] - as `choose` says.
   * @returns {Promise<void>} when all are through.
   */
  add(files, target = null) {
    this.sentences = [];
    if (this.isRefused()) return Promise.resolve();
    const held = list.countPictures(this.rows) + this.intake.transfers.length;
    const room = target?.use === "replace" ? 1 : list.MAX_PICTURES - held;
    const { taken, problem } = fitInto(files, room, list.MAX_PICTURES);
    if (problem) this.tell(problem);
    return this.intake.take(taken, target);
  }

  /** @private */
  takeFile(file, name, target) {
    this.asked.clear();
    if (target?.use === "example") return; // it is in the list already
    if (this.isRefused()) return;
    const { entries } = list.parseEntries(this.text);
    // The card may have moved meanwhile; a subject is known by its name.
    const index = target ? this.rows.findIndex((row) => row.name === target.entry.name) : -1;
    if (index < 0) {
      // Beside connected pictures too its name must be the only one.
      this.commit([...entries, list.addFile(this.rows, file, name).at(-1)]);
      this.host.onGrow(this.rows.length);
    } else if (target.use === "photo") this.commit(list.addPhoto(this.upTo(index), index, file));
    else this.commit(list.change(this.upTo(index), index, { file }));
  }

  /** @private */
  takeText() {
    const { problem } = list.parseEntries(this.box.value);
    if (!problem) {
      this.sentences = [];
      if (this.box.value !== this.text) this.write(this.box.value);
      return this.render();
    }
    // The text stays in the box for correction; the value stays what it was.
    this.sentences = [`${this.say(problem.key, problem.values)} ${this.say("kept")}`];
    this.renderNotices(null, false);
  }

  /** @private */
  tell(problem) {
    this.sentences.push(this.say(problem.key, problem.values));
    this.render();
  }

  /** @private */
  remove(index) {
    this.commit(list.removeAt(this.upTo(index), index));
    this.focusOn(`${Math.min(index, this.rows.length - 1)}`) || this.focusOn("add");
  }

  /** @private */
  move(from, to) {
    const { length } = this.rows;
    const place = Math.max(0, Math.min(length - 1, to));
    if (place === from) return;
    this.commit(list.move(this.upTo(Math.max(from, place)), from, place));
    this.focusOn(`${place}`);
  }

  /** @private */
  commit(entries) {
    this.write(list.writeEntries(entries));
    this.render();
  }

  /** @private */
  write(text) {
    this.host.transaction(() => {
      this.text = text;
    });
  }

  /** @private */
  focusOn(key) {
    const found = this.element.querySelector(`[data-focus="${CSS.escape(key)}"]`);
    found?.focus({ preventScroll: false });
    return Boolean(found);
  }

  /** @private */
  onKey(event) {
    if (!keepFromGraph(event)) return;
    const { index } = event.target.dataset;
    if (index === undefined) return;
    const step = MOVES[event.key];
    if (step && event.shiftKey) this.move(Number(index), Number(index) + step);
    else if (step) this.focusOn(`${Number(index) + step}`);
    else if (event.key === "Enter") this.focusOn(`${index}:name`);
    else if (event.key === "Delete" || event.key === "Backspace") this.removeByKey(Number(index));
    else return;
    event.preventDefault();
  }

  /** @private */
  removeByKey(index) {
    const entry = this.rows[index];
    if (!entry || this.isLinked || this.host.sources().has(entry.image)) return;
    this.remove(index);
  }

  /** @private */
  onDrag(event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    const isOver = event.type === "dragover" || event.type === "dragenter";
    this.element.classList.toggle("magref-over", isOver);
    if (event.type === "drop" && !this.isLinked) this.add([...event.dataTransfer.files]);
  }
}
