// Where a node is: subgraphs give a node one id in the graph, another in a run, and a third among the outputs.
import { app } from "../../../scripts/app.js";

/**
 * A node, and the subgraph nodes around it from the outermost inwards: the same subgraph may be there twice.
 * @typedef {{node: any, path: any[]}} Place
 */

/** The graph of the workflow that is shown; older editors have no subgraphs. */
export const rootGraph = () => /** @type {any} */ (app.rootGraph ?? app.graph);

/** @returns {string} id of the workflow that is shown */
export const workflowId = () => String(rootGraph()?.id);

/**
 * Every node of a graph, and of the subgraphs in it.
 * @param {any} [graph]
 * @param {any[]} [path]
 * @returns {Generator<Place>}
 */
export function* everyNode(graph = rootGraph(), path = []) {
  for (const node of graph?.nodes ?? []) {
    yield { node, path };
    if (node.subgraph) yield* everyNode(node.subgraph, [...path, node]);
  }
}

/**
 * Where a node is: in several places when its subgraph is there more than once, in none when it is in no graph.
 * @param {any} node
 * @returns {Place[]}
 */
export function placesOf(node) {
  return [...everyNode()].filter((place) => place.node === node);
}

/**
 * The id that a run calls a node by, such as "3:1" for node 1 in the subgraph of node 3.
 * @param {Place} place
 */
export function runIdAt({ node, path }) {
  return [...path, node].map(({ id }) => id).join(":");
}

/**
 * @param {any} node
 * @returns {string[]} its ids in a run, one for each of its places
 */
export function runIdsOf(node) {
  return placesOf(node).map(runIdAt);
}

/**
 * What a node is known by through a reload and Undo, whatever is around its graph.
 * @param {any} node
 */
export function graphKey(node) {
  return `${node.graph?.id}:${node.id}`;
}

/**
 * The node that a run calls by an id.
 * @param {string} id see `runIdAt`
 */
export function nodeRunAs(id) {
  let graph = rootGraph();
  let node = null;
  for (const part of id.split(":")) {
    node = graph?.getNodeById(part) ?? null;
    graph = node?.subgraph;
  }
  return node;
}

/**
 * The node that the editor's table of outputs means.
 * @param {string} key node id; in a subgraph with the subgraph's id before it, or, in older editors, as in a run
 */
export function nodeOf(key) {
  const [first, second] = key.split(":");
  return rootGraph().subgraphs?.get(first)?.getNodeById(second) ?? nodeRunAs(key);
}
