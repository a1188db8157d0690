/** Keys that are pressed in a widget. */

/**
 * Keep a plain key from the graph: Delete would remove the node, letters open panels.
 * @param {KeyboardEvent} event - one with Ctrl or Command goes on, such as the host's undo and its Run.
 * @returns {boolean} whether it was kept.
 */
export function keepFromGraph(event) {
  if (event.ctrlKey || event.metaKey) return false;
  event.stopPropagation();
  return true;
}
