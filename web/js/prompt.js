/** Completes and checks names in the prompt of MAGREF Bind Subjects. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { addStyleSheet } from "./common/dom.js";
import { allNodes, hostOf, isPromoted } from "./common/graph.js";
import { keepFromGraph } from "./common/keys.js";
import { remount } from "./common/remount.js";
import { inputOf, knownValue } from "./common/upstream.js";
import { loadWords, speaker } from "./common/words.js";
import { check } from "./prompt/check.js";
import { Chips } from "./prompt/chips.js";
import { addition } from "./prompt/comments.js";
import { ENGLISH } from "./prompt/english.js";
import { PromptField } from "./prompt/field.js";
import { findSubjects } from "./prompt/subjects.js";

const NODE = "MagrefBindSubjects";
const INPUT = "prompt";
const LINE = "magref_names";
const LINE_HEIGHT = 34;
const LOOK_EVERY = 250;

let words = {};
const say = (key, values) => speaker(ENGLISH, words)(key, values);
const url = (path) => api.apiURL(path);

/** Node -> its line of chips. */
const lines = new WeakMap();
/** Text box -> what is beside it. */
const fields = new Map();

/** The nodes whose prompt is written in the graph that is shown, each with the node and widget that hold its text. */
function prompts() {
  const shown = app.canvas?.graph;
  return allNodes(app.graph).flatMap((node) => {
    if (node.comfyClass !== NODE) return [];
    const input = inputOf(node, INPUT);
    if (isPromoted(node, input)) {
      const holder = hostOf(node.graph);
      const widget = holder.graph === shown && promotedWidget(node, input, holder);
      return widget ? [{ node, holder, widget }] : [];
    }
    const widget = node.widgets?.find(({ name }) => name === INPUT);
    return node.graph === shown && widget && input?.link == null ? [{ node, holder: node, widget }] : [];
  });
}

/** The widget to which a prompt was promoted. */
function promotedWidget(node, input, holder) {
  const slot = holder.inputs[node.graph.getLink(input.link).origin_slot];
  return holder.widgets?.find(({ name }) => name === (slot.widget?.name ?? slot.name));
}

/** The text box of a widget: its own on the classic canvas, else the one that Nodes 2.0 shows for it. */
function boxOf(holder, widget) {
  const isSeen = (box) => box?.isConnected && box.tagName === "TEXTAREA";
  if (isSeen(widget.element)) return widget.element;
  const shown = document.querySelector(`[data-node-id="${CSS.escape(String(holder.id))}"]`);
  const boxes = [...(shown?.querySelectorAll("textarea:not([readonly])") ?? [])];
  const title = widget.label || widget.name;
  const isTitled = (box) => [...box.labels].some((label) => label.textContent.trim() === title);
  return boxes.length > 1 ? boxes.find(isTitled) : boxes[0];
}

function fieldOf(box, node) {
  const known = fields.get(box);
  if (known?.node === node) return known.field;
  known?.field.remove();
  const subjects = () => findSubjects(node);
  const field = new PromptField(box, { say, url, subjects, tell: (findings) => showLine(node, findings) });
  fields.set(box, { field, node });
  return field;
}

/** Look at all prompts again; what was typed meanwhile, linked or renamed is seen then. */
function look() {
  const seen = new Set();
  for (const { node, holder, widget } of prompts()) {
    const box = boxOf(holder, widget);
    if (!box) continue;
    seen.add(box);
    fieldOf(box, node).look();
  }
  for (const [box, { field }] of fields)
    if (!seen.has(box)) {
      field.remove();
      fields.delete(box);
    }
  for (const node of app.canvas?.graph?.nodes ?? []) {
    const line = lines.get(node);
    if (!line) continue;
    remount(line.element, "magref-chips", node.id);
    if (isFed(node)) showFed(node);
  }
}

const isFed = (node) => inputOf(node, INPUT)?.link != null;

/** Check a prompt that comes over a link, where the page can know it. */
function showFed(node) {
  const text = knownValue(node, INPUT);
  const subjects = findSubjects(node);
  showLine(node, typeof text === "string" && subjects ? check(text, subjects).findings : []);
}

function showLine(node, findings) {
  lines.get(node)?.show(findings, findSubjects(node) ?? [], Boolean(fieldFor(node)));
}

/** The field in which a node's prompt is written; undefined where it comes over a link. */
const fieldFor = (node) => [...fields.values()].find((one) => one.node === node)?.field;

/** Put a mention where the one stands that is wrong, else behind the prompt's last word. */
function write(node, { mention }, text) {
  const field = fieldFor(node);
  const place = mention ? { ...mention, text } : field && addition(field.box.value, text);
  field?.write(place.begin, place.end, place.text);
}

function addLine(node) {
  const line = new Chips({ say, url, write: (finding, text) => write(node, finding, text) });
  line.element.addEventListener("keydown", keepFromGraph);
  const widget = node.addDOMWidget(LINE, "MAGREF_NAMES", line.element, {
    serialize: false,
    hideInPanel: true,
    getMinHeight: () => LINE_HEIGHT,
    getMaxHeight: () => LINE_HEIGHT,
    hideOnZoom: false,
    margin: 4,
  });
  widget.serialize = false;
  lines.set(node, line);
}

app.registerExtension({
  name: "Magref.Prompt",

  async setup() {
    addStyleSheet("prompt.css");
    setInterval(look, LOOK_EVERY);
    words = await loadWords(api, app.extensionManager?.setting?.get("Comfy.Locale") ?? "en", "prompt");
  },

  nodeCreated(node) {
    if (node.comfyClass === NODE) addLine(node);
  },

  afterConfigureGraph: look,
});
