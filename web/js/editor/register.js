/** Gives MAGREF Build Masked Canvas its editor. */

import { app } from "../../../../scripts/app.js";
import { api } from "../../../../scripts/api.js";
import { allNodes } from "../common/graph.js";
import { outputOf, Runs } from "../common/runs.js";
import { loadWords } from "../common/words.js";
import { CanvasEditor } from "./editor.js";
import { addStyle } from "./style.js";
import { translate } from "./words.js";

const TYPE = "MAGREF_CANVAS_EDITOR";
const NODE = "MagrefBuildMaskedCanvas";
const MIN_WIDTH = 500;
const MIN_HEIGHT = 580;

const editors = new WeakMap();
const runs = new Runs();

/** Show again what was shown before the nodes were made anew. */
function recallRuns() {
  for (const node of allNodes(app.graph)) {
    const editor = editors.get(node)?.editor;
    const output = editor && outputOf(app.nodeOutputs, node);
    const known = runs.recall(output);
    if (known) editor.recall(output, known);
  }
}

function makeWidget(node, name) {
  addStyle();
  const editor = new CanvasEditor(node, api, () => node.graph != null && app.canvas?.graph === node.graph);
  const widget = node.addDOMWidget(name, TYPE, editor.element, {
    getValue: () => editor.value,
    setValue: (value) => {
      editor.value = value;
    },
    getMinHeight: () => MIN_HEIGHT,
    hideOnZoom: false,
  });
  editors.set(node, { editor, widget });
  const { onAdded, onExecuted, onRemoved } = node;
  node.onAdded = function (...given) {
    onAdded?.apply(this, given);
    editor.start();
  };
  node.onExecuted = function (output, ...others) {
    onExecuted?.call(this, output, ...others);
    const known = editor.ran(output);
    if (known) runs.note(output, known);
  };
  node.onRemoved = function (...given) {
    onRemoved?.apply(this, given);
    editor.stop();
  };
  return { widget, minWidth: MIN_WIDTH, minHeight: MIN_HEIGHT };
}

app.registerExtension({
  name: "magref.canvasEditor",
  async setup() {
    translate(await loadWords(api, app.extensionManager?.setting?.get("Comfy.Locale") ?? "en", "editor"));
  },
  getCustomWidgets: () => ({ [TYPE]: makeWidget }),
  afterConfigureGraph: recallRuns,
  onNodeOutputsUpdated: recallRuns,
  nodeCreated(node) {
    const made = node.comfyClass === NODE && editors.get(node);
    if (!made) return;
    // The text box was tucked away among the advanced inputs; the editor is what the node is for.
    made.widget.advanced = false;
    made.widget.options.advanced = false;
  },
});
