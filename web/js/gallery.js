/** Registers the gallery of MAGREF Load References with ComfyUI. */

import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { addStyleSheet } from "./common/dom.js";
import { allNodes, getLink, isPromoted } from "./common/graph.js";
import { drawn, remount } from "./common/remount.js";
import { outputOf, Runs } from "./common/runs.js";
import { loadWords, speaker } from "./common/words.js";
import { ENGLISH } from "./gallery/english.js";
import { DEFAULT_LIMIT } from "./gallery/files.js";
import { Gallery } from "./gallery/widget.js";

const NODE = "MagrefLoadReferences";
const INPUT = "references";
const SOCKET = /^images\.(image_\d+)$/;
const MIN_HEIGHT = 160;
const CARD_HEIGHT = 84;
const MOST_CARDS_SHOWN = 4;

let words = {};

/** Node -> its gallery. */
const galleries = new WeakMap();
const runs = new Runs();

/** Connected socket -> the output that feeds it. */
function sourcesOf(node) {
  const connected = (node.inputs ?? []).filter((input) => input.link != null && SOCKET.test(input.name));
  const sourceOf = ({ origin_id, origin_slot } = {}) => `${origin_id}:${origin_slot}`;
  return new Map(
    connected.map((input) => [SOCKET.exec(input.name)[1], sourceOf(getLink(node.graph, input.link) ?? undefined)]),
  );
}

/** How the value comes here if not from the gallery: over a link, or from the subgraph that it was promoted to. */
function feedOf(node) {
  const input = (node.inputs ?? []).find((one) => one.widget?.name === INPUT && one.link != null);
  if (!input) return null;
  return isPromoted(node, input) ? "promoted" : "linked";
}

const isLinked = (node) => feedOf(node) !== null;

/** Show again what was shown before the nodes were made anew. */
function recallRuns() {
  for (const node of allNodes(app.graph)) {
    const gallery = galleries.get(node);
    const shown = gallery && runs.recall(outputOf(app.nodeOutputs, node));
    if (shown) gallery.showPictures(shown);
  }
}

/** Run a change as one step of ComfyUI's undo, and tell those who listen to the widget. */
function transaction(node, widget, change) {
  app.canvas.emitBeforeChange();
  try {
    change();
    widget.callback?.(widget.value);
    node.setDirtyCanvas?.(true, true);
  } finally {
    app.canvas.emitAfterChange();
  }
}

/** Make the node taller, never smaller, so that a few cards are seen whole. */
function grow(node, count) {
  const wanted = (node.size?.[1] ?? 0) - (galleries.get(node)?.element.clientHeight || MIN_HEIGHT);
  const height = wanted + MIN_HEIGHT / 2 + CARD_HEIGHT * Math.min(count, MOST_CARDS_SHOWN);
  if (height > node.size[1]) node.setSize([node.size[0], height]);
}

function makeWidget(node, name) {
  const gallery = new Gallery({
    api,
    say: (key, values) => speaker(ENGLISH, words)(key, values),
    sources: () => sourcesOf(node),
    feed: () => feedOf(node),
    limit: () => api.getServerFeature?.("max_upload_size", DEFAULT_LIMIT) ?? DEFAULT_LIMIT,
    transaction: (change) => transaction(node, widget, change),
    onGrow: (count) => grow(node, count),
  });
  const widget = node.addDOMWidget(name, "MAGREF_GALLERY", gallery.element, {
    getValue: () => gallery.value,
    setValue: (value) => {
      gallery.value = value;
    },
    getMinHeight: () => MIN_HEIGHT,
    hideOnZoom: false,
    margin: 6,
  });
  galleries.set(node, gallery);
  return widget;
}

function listenToNode(node, gallery) {
  const { onExecuted, onConnectionsChange, onRemoved } = node;
  node.onExecuted = function (output, ...rest) {
    onExecuted?.call(this, output, ...rest);
    if (output?.magref_references) runs.note(output, gallery.showRun(output.magref_references));
  };
  node.onConnectionsChange = function (...given) {
    onConnectionsChange?.apply(this, given);
    // The sockets that grow are put in order a little later.
    drawn().then(() => gallery.render());
  };
  node.onRemoved = function (...given) {
    onRemoved?.apply(this, given);
    gallery.intake.stop();
  };
  node.onDragOver = (event) => !isLinked(node) && [...(event.dataTransfer?.items ?? [])].some(isFile);
  node.onDragDrop = async (event) => {
    const files = [...(event.dataTransfer?.files ?? [])];
    if (!files.length || isLinked(node)) return false;
    gallery.add(files);
    return true;
  };
}

function isFile(item) {
  return item.kind === "file";
}

/** The gallery at which a paste is aimed: the one with the focus, else that of the only selected node. */
function galleryFor(event) {
  const selected = Object.values(app.canvas?.selected_nodes ?? {});
  const nodes = (app.canvas?.graph?.nodes ?? []).filter((node) => galleries.has(node));
  const focused = nodes.find((node) => galleries.get(node).element.contains(event.target));
  if (focused) return [focused, galleries.get(focused)];
  const isTyping = event.target?.matches?.("input, textarea, [contenteditable='true']");
  if (isTyping || selected.length !== 1 || !galleries.has(selected[0])) return [];
  return [selected[0], galleries.get(selected[0])];
}

function onPaste(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  const [node, gallery] = galleryFor(event);
  if (!gallery || isLinked(node)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  gallery.add(files);
}

app.registerExtension({
  name: "Magref.Gallery",

  getCustomWidgets() {
    return { MAGREF_GALLERY: (node, name) => ({ widget: makeWidget(node, name), minWidth: 380, minHeight: MIN_HEIGHT }) };
  },

  async setup() {
    addStyleSheet("gallery.css");
    // Before ComfyUI, which would make a node of each picture.
    document.addEventListener("paste", onPaste, true);
    words = await loadWords(api, app.extensionManager?.setting?.get("Comfy.Locale") ?? "en", "gallery");
  },

  onNodeOutputsUpdated: recallRuns,

  async afterConfigureGraph() {
    recallRuns();
    await drawn();
    const nodes = (app.canvas?.graph?.nodes ?? []).filter((node) => galleries.has(node));
    for (const node of nodes) {
      const gallery = galleries.get(node);
      remount(gallery.element, "magref-gallery", node.id);
      gallery.render();
    }
  },

  nodeCreated(node) {
    const gallery = galleries.get(node);
    if (node.comfyClass !== NODE || !gallery) return;
    listenToNode(node, gallery);
    gallery.render();
  },
});
