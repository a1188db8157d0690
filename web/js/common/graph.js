/** What the live graph tells to gallery and editor alike. */

/**
 * The nodes of a graph and of all its subgraphs.
 * @param {Object|undefined} graph - any of them.
 * @returns {Object[]}
 */
export function allNodes(graph) {
  const root = graph?.rootGraph ?? graph;
  const graphs = root ? [root, ...(root.subgraphs?.values?.() ?? [])] : [];
  return graphs.flatMap(({ nodes }) => [...(nodes ?? [])]);
}

/**
 * A link of a graph.
 * @param {Object|undefined} graph
 * @param {number|string} id
 * @returns {Object|null}
 */
export function getLink(graph, id) {
  return graph?.getLink?.(id) ?? graph?.links?.get?.(id) ?? graph?.links?.[id] ?? null;
}

/**
 * The first node that shows a subgraph.
 * @param {Object|undefined} graph - the subgraph.
 * @returns {Object|null} null for the outermost graph.
 */
export function hostOf(graph) {
  const root = graph?.rootGraph;
  if (!root || root === graph) return null;
  return allNodes(root).find((node) => node.subgraph === graph) ?? null;
}

/**
 * Whether an input was promoted to the node of its subgraph, which holds its value then.
 * @param {Object} node
 * @param {Object|undefined} input - one of the node's.
 * @returns {boolean}
 */
export function isPromoted(node, input) {
  const link = input?.link == null ? null : getLink(node.graph, input.link);
  if (!link || !isFromBorder(link)) return false;
  const outer = hostOf(node.graph)?.inputs?.[link.origin_slot];
  return Boolean(outer) && outer.link == null;
}

/** Whether a link comes from the border of its subgraph. */
export function isFromBorder(link) {
  return Boolean(link.originIsIoNode) || Number(link.origin_id) === -10;
}
