/**
 * Runs that the page still knows when a node is made anew.
 *
 * ComfyUI's undo, and a change of tabs, makes every node anew; it keeps what the nodes sent last, but does not hand
 * it to them again, and it does not say what they were set to at that run.
 */

const MOST = 100;

/** What a widget noted of each run, found again by what the node had sent; the oldest go first. */
export class Runs {
  #noted = new Map();

  /**
   * @param {Object} output - as the host hands it to `onExecuted`.
   * @param {Object} known - to be had again from `recall`.
   */
  note(output, known) {
    this.#noted.set(keyOf(output), known);
    if (this.#noted.size > MOST) this.#noted.delete(this.#noted.keys().next().value);
  }

  /**
   * @param {Object|undefined} output - as `outputOf` gives it.
   * @returns {Object|undefined} what was noted of that run.
   */
  recall(output) {
    return output && this.#noted.get(keyOf(output));
  }
}

/** The files of a run have names that no other run has. */
function keyOf({ magref_report: report, magref_references: references }) {
  return JSON.stringify([report, references]);
}

/**
 * What a node sent in its last run, as the host keeps it.
 * @param {Object<string, Object>} outputs - `app.nodeOutputs`.
 * @param {Object} node - of the live graph.
 * @returns {Object|undefined}
 */
export function outputOf(outputs, node) {
  const { graph } = node;
  const isInside = graph?.rootGraph && graph.rootGraph !== graph;
  return outputs?.[isInside ? `${graph.id}:${node.id}` : String(node.id)];
}
