// Tables by workflow and node: what they keep lasts while panels come and go with Undo, a reload and the workflow's tab.
import { nodeRunAs, runIdsOf, workflowId } from "./graph.mjs";

/**
 * @param {string | null} workflow
 * @param {string} id that a run calls a node by; none: the beginning of all keys of the workflow
 */
export function keyOf(workflow, id = "") {
  return `${workflow} ${id}`;
}

/**
 * The keys of a table under which it has something for a node of the workflow that is shown.
 * @param {Map<string, any>} table
 * @param {any} node
 * @returns {string[]}
 */
export function keysFor(table, node) {
  const workflow = workflowId();
  const own = runIdsOf(node).map((id) => keyOf(workflow, id)).filter((key) => table.has(key));
  if (own.length) return own;
  // moved into a subgraph or out of it, and known by where it was
  const start = keyOf(workflow);
  const before = [...table.keys()].filter((key) => {
    const id = key.slice(start.length);
    return key.startsWith(start) && id.split(":").at(-1) === String(node.id) && !nodeRunAs(id);
  });
  return before.length === 1 ? before : [];
}
