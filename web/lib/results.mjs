// What nodes report when they run, given to the node that it belongs to: the editor gives a result to the node of that
// id in the workflow that is shown, even when another workflow was run.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { nodeOf, nodeRunAs } from "./graph.mjs";
import { isForeign } from "./prompts.mjs";

/**
 * @typedef {(node: any, value: any[], fresh: boolean) => void} Taker
 *   `fresh`: just executed; else what the editor remembered, for a node that is a new one
 */

/** @type {[string, Taker][]} */
const takers = [];

/**
 * Be given what nodes report under a key.
 * @param {string} key of their output to the editor
 * @param {Taker} take
 */
export function onResult(key, take) {
  takers.push([key, take]);
}

/**
 * @param {any} node
 * @param {Record<string, any> | undefined} output
 * @param {boolean} fresh
 */
function give(node, output, fresh) {
  if (!node || !output) return;
  for (const [key, take] of takers) if (output[key]) take(node, output[key], fresh);
}

api.addEventListener("executed", ({ detail }) => {
  if (!isForeign(detail.prompt_id)) give(nodeRunAs(String(detail.display_node ?? detail.node)), detail.output, true);
});

app.registerExtension({
  name: "SemanticFocus.Results",
  // back in a workflow's tab: the nodes are new ones, and may have run meanwhile
  onNodeOutputsUpdated(outputs) {
    for (const [key, output] of Object.entries(outputs)) give(nodeOf(key), output, false);
  },
});
