/** The canvas editor of one node: holds its value, and brings graph, pictures, server and page together. */

import { element } from "../common/dom.js";
import { keepFromGraph } from "../common/keys.js";
import { remount } from "../common/remount.js";
import { act } from "./actions.js";
import { findReferences } from "./graph.js";
import { History } from "./history.js";
import { arrange, cellsFor } from "./layout.js";
import { capitalised, Message } from "./message.js";
import { guidesOf } from "./model.js";
import { Panel, Tabs } from "./panel.js";
import { complaint, covered, fromText, toText, unreadable } from "./placements.js";
import { PictureStore } from "./pictures.js";
import { boxesOf, PreviewClient, resultOfRun } from "./preview.js";
import { linkedSettings, readSettings, snapshot, soundColour, writeSettings } from "./settings.js";
import { Stage } from "./stage.js";
import { TextField } from "./text_field.js";
import { Toolbar } from "./toolbar.js";
import { drawCanvas, drawMask } from "./view.js";
import { wantedPictures } from "./wanted.js";
import { say } from "./words.js";

const LOOK_EVERY = 250;
const NUDGE_PAUSE = 1000;

/** One editor; `element` is what the node shows, `value` what the widget holds. */
export class CanvasEditor {
  #text = "";
  #refused = "";
  #selected = null;
  #dragged = null;
  #isTravelling = false;
  #found = { entries: null, files: null, isCut: false, note: "" };
  #pictures = new Map();
  #pictureNote = "";
  #run = null;
  #answer = { key: "", result: null, problem: "" };
  #seen = "";
  #turn = 0;
  #lastNudge = { name: "", time: 0 };
  #switches = { snap: true, mask: false };
  #history = new History();

  /**
   * @param {Object} node - MAGREF Build Masked Canvas.
   * @param {{fetchApi: Function, apiURL: Function}} api - the host's.
   * @param {() => boolean} isShown - whether the node's graph is the one on the page.
   */
  constructor(node, api, isShown) {
    Object.assign(this, { node, api, isShown });
    this.store = new PictureStore((path) => api.fetchApi(path));
    this.client = new PreviewClient(
      (path, options) => api.fetchApi(path, options),
      (key, result, problem) => {
        this.#answer = { key, result, problem };
        this.redraw();
      },
    );
    this.stage = new Stage(this.#stageHost());
    this.toolbar = new Toolbar({
      run: (action) => this.#do(action),
      setColour: (colour) => this.#change({ background: colour }),
    });
    this.tabs = new Tabs((view) => this.#show(view));
    this.panel = new Panel((name) => this.#select(name));
    this.field = new TextField((text) => this.#type(text));
    this.view = element("img", { class: "magref-editor-view", alt: "", hidden: true });
    this.message = new Message(() => this.#do("repair"));
    const stand = element("div", { class: "magref-editor-stand" }, this.stage.element, this.view);
    this.element = element(
      "div",
      { class: "magref-editor" },
      this.toolbar.element,
      this.tabs.element,
      stand,
      this.message.element,
      this.panel.element,
      this.field.element,
    );
    this.element.addEventListener("keydown", keepFromGraph);
    this.redraw();
  }

  /** Begin to follow the graph. */
  start() {
    clearInterval(this.timer);
    this.timer = setInterval(() => this.look(), LOOK_EVERY);
    this.#seen = "";
    this.look();
  }

  /** The widget's value: placements as JSON, empty for the automatic layout. */
  get value() {
    return this.#text;
  }

  /** A text that holds no placements is refused while a sound one is there, and is kept where nothing was. */
  set value(given) {
    const text = typeof given === "string" ? given : given == null ? "" : JSON.stringify(given);
    const problem = unreadable(text);
    const isKept = problem && !this.#isTravelling && this.#text && !unreadable(this.#text);
    if (!isKept) this.#text = text.trim() ? text : "";
    this.#refused = isKept ? say("kept", { reason: problem }) : "";
    this.redraw();
  }

  /** Follow it no longer, and let the pictures go. */
  stop() {
    clearInterval(this.timer);
    this.client.stop();
    this.#turn++; // what is being loaded is let go too
    this.#pictures = new Map();
    this.store.keepOnly([]);
  }

  /** The node was run: `output` is what it sent to the page. */
  ran(output) {
    const result = resultOfRun(output, (file) => this.api.apiURL(`/view?${new URLSearchParams(file)}`));
    if (!result) return;
    const found = findReferences(this.node);
    this.#run = { ...result, key: this.#runKey(found), entries: JSON.stringify(found.entries) };
    this.#seen = "";
    this.look();
  }

  /** Follow what has changed in the graph; cheap where nothing has. */
  look() {
    if (document.hidden) return;
    if (this.isShown()) remount(this.element, "magref-editor", this.node.id);
    if (!this.element.isConnected) return;
    const found = findReferences(this.node);
    const seen = JSON.stringify([this.#runKey(found), found, linkedSettings(this.node), this.#run?.key]);
    if (seen === this.#seen) return;
    this.#seen = seen;
    this.#found = found;
    this.#load();
  }

  async #load() {
    const turn = ++this.#turn;
    const wanted = wantedPictures(this.#found, this.#run);
    try {
      const loaded = await this.store.load(wanted);
      if (turn !== this.#turn) return;
      this.#pictures = new Map(loaded.map((picture) => [picture.name, picture]));
      this.store.keepOnly(wanted);
      this.#pictureNote = "";
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#pictures = new Map();
      this.#pictureNote = error.message;
      setTimeout(() => (this.#seen = ""), 12 * LOOK_EVERY); // it may be put there
    }
    this.#ask();
    this.redraw();
  }

  #runKey(found) {
    return JSON.stringify([readSettings(this.node), found.entries, found.isCut, found.cutting]);
  }

  get #settings() {
    return { ...readSettings(this.node), placements: this.#text };
  }

  #isFresh() {
    return this.#run !== null && this.#run.key === this.#runKey(this.#found);
  }

  #body() {
    return { references: this.#found.files, ...this.#settings, prompt: "" };
  }

  #ask() {
    const cannot = !this.#found.files || linkedSettings(this.node).length || !this.#pictures.size;
    if (cannot || this.#isFresh()) this.client.stop();
    else this.client.ask(this.#body());
  }

  /** The newest result that belongs to what is set, else null. */
  #result() {
    if (this.#isFresh()) return this.#run;
    return this.#found.files && this.#answer.key === JSON.stringify(this.#body()) ? this.#answer.result : null;
  }

  /** What is drawn: own placements, else the automatic layout as far as it is known here. */
  #layout() {
    const settings = this.#settings;
    const pictures = [...this.#pictures.values()];
    const names = pictures.map(({ name }) => name);
    if (this.#text && !unreadable(this.#text)) {
      const placements = fromText(this.#text);
      return { placements, problem: names.length ? complaint(placements, names, settings) : null, note: "" };
    }
    const problem = this.#text ? unreadable(this.#text) : null;
    const automatic = arrange(pictures, { ...settings, seed: settings.layout_seed });
    if (automatic) return { placements: automatic, problem, note: "" };
    const answered = this.#result();
    const boxes = answered?.placements ?? (answered && boxesOf(answered.report));
    if (boxes) return { placements: boxes, problem, note: "" };
    const note = say("byServer", { order: settings.order });
    return { placements: [], problem, note: this.#found.files || !names.length ? "" : note };
  }

  /** Draw everything anew. */
  redraw() {
    const settings = this.#settings;
    const layout = this.#layout();
    const placements = layout.placements.map((placement) =>
      placement.reference === this.#dragged?.reference ? this.#dragged : placement,
    );
    this.shown = { ...layout, placements };
    const background = soundColour(settings.background);
    const size = { width: Math.max(settings.width, 1), height: Math.max(settings.height, 1) };
    this.element.style.setProperty("--magref-ratio", String(size.width / size.height));
    drawCanvas(this.stage.picture, size, background, placements, this.#pictures);
    this.stage.mask.hidden = !this.#switches.mask;
    if (this.#switches.mask) drawMask(this.stage.mask, size, settings.mask_shape, placements, this.#pictures);
    this.stage.drawMarks();
    if (!this.#dragged) this.#redrawAround(settings, layout);
  }

  #redrawAround(settings, { problem, note }) {
    const result = this.#result();
    const isLocked = this.#isLocked();
    this.toolbar.update({
      canUndo: this.#history.canUndo,
      canRedo: this.#history.canRedo,
      hasPictures: this.#pictures.size > 0,
      isSelected: this.#selectedBox() !== undefined,
      isLocked,
      ...this.#switches,
      colour: soundColour(settings.background),
      hasArrange: this.#hasOrder("fitted"),
    });
    this.#say(problem, note, isLocked);
    const views = result?.views ?? {};
    this.tabs.update(this.tabs.current, Object.keys(views));
    this.#showView(views);
    const names = [...this.#pictures.keys()];
    this.panel.update({ report: result?.report ?? null, names, selected: this.#selected, note: this.#panelNote(result) });
    this.field.update(this.#text);
  }

  #say(problem, note, isLocked) {
    const locked = isLocked ? say("linked") : "";
    const refusal = problem && `${capitalised(problem)}.`;
    const unknown = this.#pictures.size ? "" : this.#found.note;
    const hidden = this.#coverNote();
    this.message.update({
      problems: [this.#refused, refusal, this.#pictureNote],
      notes: [locked, unknown, note, this.#problemOfServer(), hidden],
      canRepair: Boolean(problem) && !isLocked && this.#pictures.size > 0,
    });
  }

  #problemOfServer() {
    const { key, problem } = this.#answer;
    const isOurs = this.#found.files && key === JSON.stringify(this.#body()) && !this.#isFresh();
    return isOurs ? capitalised(problem) : "";
  }

  #coverNote() {
    const names = this.#text ? covered(this.shown.placements) : [];
    const people = names.filter((name) => this.#pictures.get(name)?.kind !== "background");
    return people.length ? say("covered", { names: people.map((name) => `'${name}'`).join(", ") }) : "";
  }

  #panelNote(result) {
    if (this.#isFresh() || !this.#pictures.size) return "";
    if (result && this.#found.isCut) return say("beforeCut");
    return result || this.#found.files ? "" : say("runFirst");
  }

  #showView(views) {
    const address = this.tabs.current === "edit" ? null : views[this.tabs.current];
    const isEdit = this.tabs.current === "edit";
    this.stage.element.hidden = !isEdit;
    this.view.hidden = isEdit || !address;
    if (address && this.view.getAttribute("src") !== address) this.view.src = address;
    this.view.alt = isEdit ? "" : this.tabs.current.replace("_", " ");
    this.view.dataset.view = this.tabs.current;
  }

  #show(view) {
    this.tabs.current = view;
    this.redraw();
  }

  #isLocked() {
    return linkedSettings(this.node).includes("placements");
  }

  #hasOrder(name) {
    const values = this.node.widgets?.find((widget) => widget.name === "order")?.options?.values;
    return Array.isArray(values) && values.includes(name);
  }

  /** The cells of an order that only the server knows. */
  #cellsOfServer() {
    const isKnownHere = this.#text || this.#settings.order !== "fitted";
    const cells = isKnownHere ? [] : (this.#result()?.report.subjects.map(({ cell }) => cell) ?? []);
    return cells.length && cells.every(Boolean) ? cells : null;
  }

  #selectedBox() {
    return this.shown.placements.find(({ reference }) => reference === this.#selected);
  }

  #select(name) {
    this.#selected = name;
    this.redraw();
  }

  #stageHost() {
    return {
      scene: () => {
        const { width, height } = this.#settings;
        const canvas = { width, height };
        const count = this.#pictures.size || this.#found.entries?.length || 1;
        const cells = this.#cellsOfServer() ?? cellsFor(count, canvas);
        const guides = this.#switches.snap ? guidesOf(cells) : undefined;
        const { placements } = this.shown;
        // Boxes can be moved once every picture is known and every box is sound; until then Repair is offered.
        const isLocked = this.#isLocked() || !this.#pictures.size || Boolean(this.shown.problem);
        return { canvas, cells, guides, placements, selected: this.#selected, isLocked };
      },
      select: (name) => this.#select(name),
      show: (box) => {
        this.#dragged = box;
        this.redraw();
      },
      commit: (box, isNudge = false) => {
        this.#dragged = null;
        const { placements } = this.#layout();
        const changed = placements.map((one) => (one.reference === box.reference ? box : one));
        this.#place(changed, isNudge ? box.reference : "");
      },
      cancel: () => {
        this.#dragged = null;
        this.redraw();
      },
      restack: (steps) => this.#do(steps > 0 ? "forward" : "backward"),
      step: (steps) => {
        const names = this.shown.placements.map(({ reference }) => reference);
        const at = names.indexOf(this.#selected);
        this.#select(names[at < 0 ? 0 : (at + steps + names.length) % names.length] ?? null);
      },
      undo: () => this.#do("undo"),
      redo: () => this.#do("redo"),
    };
  }

  /** Take placements as the value; nudges of one picture in a row count as one change. */
  #place(placements, nudged = "") {
    const isSame = nudged && nudged === this.#lastNudge.name && Date.now() - this.#lastNudge.time < NUDGE_PAUSE;
    this.#lastNudge = { name: nudged, time: Date.now() };
    this.#change({ placements: toText(placements) }, !isSame);
  }

  /** Change some of the node's values; all that the editor does goes through here. */
  #change(values, isNoted = true) {
    const before = snapshot(this.#settings);
    this.#refused = "";
    if (isNoted) this.#history.note(before, { ...before, ...values });
    writeSettings(this.node, values);
    this.#seen = "";
    this.redraw();
    this.look();
  }

  /** The text field was left with another text. */
  #type(text) {
    const problem = unreadable(text);
    if (!problem) return this.#change({ placements: text.trim() ? text : "" });
    this.#refused = say("kept", { reason: problem });
    return this.redraw();
  }

  #do(action) {
    if (action === "undo" || action === "redo") return this.#travel(action);
    if (action === "snap" || action === "mask") return this.#switch(action);
    const shown = { placements: this.shown.placements, pictures: this.#pictures, selected: this.#selected };
    const values = act(action, { settings: this.#settings, ...shown });
    return values && this.#change(values);
  }

  #travel(way) {
    const then = this.#history[way](snapshot(this.#settings));
    this.#lastNudge = { name: "", time: 0 };
    if (!then) return;
    this.#isTravelling = true; // what was there before may have been unreadable
    this.#change(then, false);
    this.#isTravelling = false;
  }

  #switch(name) {
    this.#switches[name] = !this.#switches[name];
    this.redraw();
  }
}
