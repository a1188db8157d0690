/** The canvas editor of one node: holds its value, and brings graph, pictures, server and page together. */

import { element } from "../common/dom.js";
import { isPromoted } from "../common/graph.js";
import { keepFromGraph } from "../common/keys.js";
import { remount } from "../common/remount.js";
import { inputOf } from "../common/upstream.js";
import { act } from "./actions.js";
import { findReferences } from "./graph.js";
import { History } from "./history.js";
import { capitalised, Message } from "./message.js";
import { guidesOf } from "./model.js";
import { Panel, Tabs } from "./panel.js";
import { toText, unreadable } from "./placements.js";
import { PictureStore } from "./pictures.js";
import { PreviewClient, resultOfRun } from "./preview.js";
import { isOfLayout, isOfList } from "./run.js";
import { hasOrder, linkedSettings, readSettings, snapshot, soundColour, unknownSettings, writeSettings } from "./settings.js";
import { ServerView } from "./server_view.js";
import { cellsOf, coverNote, layoutOf } from "./shown.js";
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
    this.view = new ServerView();
    this.message = new Message(() => this.#do("repair"));
    const stand = element("div", { class: "magref-editor-stand" }, this.stage.element, this.view.element);
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

  /**
   * The node was run.
   * @param {Object} output - what it sent to the page.
   * @returns {{key: string, entries: string}|null} what the run was made of, for `recall`.
   */
  ran(output) {
    const result = resultOfRun(output, this.api);
    if (!result) return null;
    const found = findReferences(this.node);
    this.#run = result; // its size is the canvas's where that comes over a link
    const key = isOfLayout(result.report, this.#settings) ? this.#runKey(found) : "";
    const entries = isOfList(result.references, found.entries) ? JSON.stringify(found.entries) : "";
    this.recall(output, { key, entries });
    return { key, entries };
  }

  /** Show a run, also one of the node that this one stands for; `known` as `ran` gave it. */
  recall(output, known) {
    this.#run = { ...resultOfRun(output, this.api), ...known };
    this.#seen = "";
    this.look();
  }

  /** Follow what has changed in the graph; cheap where nothing has. */
  look() {
    if (document.hidden) return;
    if (this.isShown()) remount(this.element, "magref-editor", this.node.id);
    if (!this.element.isConnected) return;
    const found = findReferences(this.node);
    const linked = [linkedSettings(this.node), unknownSettings(this.node)];
    const seen = JSON.stringify([this.#runKey(found), found, linked, this.#run?.key]);
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
    const settings = readSettings(this.node);
    if (!this.#isLocked()) settings.placements = this.#text;
    const unknown = this.#run ? unknownSettings(this.node) : [];
    for (const side of ["width", "height"]) if (unknown.includes(side)) settings[side] = this.#run.report[side];
    return settings;
  }

  #isFresh() {
    return this.#run !== null && this.#run.key === this.#runKey(this.#found);
  }

  #body() {
    return { references: this.#found.files, ...this.#settings, prompt: "" };
  }

  #ask() {
    const cannot = !this.#found.files || unknownSettings(this.node).length || !this.#pictures.size;
    if (cannot || this.#isFresh()) this.client.stop();
    else this.client.ask(this.#body());
  }

  /** The newest result that belongs to what is set, else null. */
  #result() {
    if (this.#isFresh()) return this.#run;
    return this.#found.files && this.#answer.key === JSON.stringify(this.#body()) ? this.#answer.result : null;
  }

  #layout() {
    return layoutOf({
      settings: this.#settings,
      unknown: unknownSettings(this.node),
      pictures: [...this.#pictures.values()],
      result: this.#result(),
      canAsk: Boolean(this.#found.files),
    });
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
      hasArrange: hasOrder(this.node, "fitted"),
      linked: linkedSettings(this.node),
    });
    this.#say(problem, note, isLocked);
    const views = result?.views ?? {};
    this.tabs.update(this.tabs.current, Object.keys(views));
    this.stage.element.hidden = this.tabs.current !== "edit";
    this.view.show(this.tabs.current, this.tabs.title, views[this.tabs.current]);
    const names = [...this.#pictures.keys()];
    this.panel.update({ report: result?.report ?? null, names, selected: this.#selected, note: this.#panelNote(result) });
    this.field.update(settings.placements);
  }

  #say(problem, note, isLocked) {
    const locked = isLocked ? say(isPromoted(this.node, inputOf(this.node, "placements")) ? "promoted" : "linked") : "";
    const names = this.#isFresh() ? [] : unknownSettings(this.node);
    const size = names.length ? say("unknownSettings", { names: names.join(", ") }) : "";
    const refusal = problem && `${capitalised(problem)}.`;
    const unknown = this.#pictures.size ? "" : this.#found.note;
    const hidden = this.#settings.placements ? coverNote(this.shown.placements, this.#pictures) : "";
    this.message.update({
      problems: [this.#refused, refusal, this.#pictureNote],
      notes: [locked, unknown, size, note, this.#problemOfServer(), hidden],
      canRepair: Boolean(problem) && !isLocked && this.#pictures.size > 0,
    });
  }

  #problemOfServer() {
    const { key, problem } = this.#answer;
    const isOurs = this.#found.files && key === JSON.stringify(this.#body()) && !this.#isFresh();
    return isOurs ? capitalised(problem) : "";
  }

  #panelNote(result) {
    if (this.#isFresh() || !this.#pictures.size) return "";
    if (result && this.#found.isCut) return say("beforeCut");
    return result || this.#found.files ? "" : say("runFirst");
  }

  #show(view) {
    this.tabs.current = view;
    this.redraw();
  }

  #isLocked() {
    return linkedSettings(this.node).includes("placements");
  }

  #cells() {
    return cellsOf({
      settings: this.#settings,
      pictures: [...this.#pictures.values()],
      count: this.#pictures.size || this.#found.entries?.length || 1,
      result: this.#result(),
    });
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
        const cells = this.#cells();
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
    const values = act(action, { settings: this.#settings, cells: this.#cells(), ...shown });
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
