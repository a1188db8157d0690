/** Keeps the element of a DOM widget on its node. */

/**
 * Put an element where an older one of the same kind was left behind.
 *
 * Nodes 2.0 keeps what it shows of a node when another graph with the same ids is loaded (another tab, the host's
 * undo), and with it the old node's element; the classic canvas does not.
 * @param {HTMLElement} element - of the widget of a node in the graph that is shown.
 * @param {string} kind - class of such elements.
 * @param {number|string} nodeId
 * @returns {boolean} whether it had to be moved.
 */
export function remount(element, kind, nodeId) {
  if (element.isConnected) return false;
  const left = document.querySelector(`[data-node-id="${CSS.escape(String(nodeId))}"] .${kind}`);
  left?.replaceWith(element);
  return Boolean(left);
}

/** Two frames later all that was changed has been drawn. */
export function drawn() {
  return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}
