// What nodes report when they run, given to the node that it belongs to: the editor gives a result to the node of that
// id in the workflow that is shown, even when another workflow was run.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { keyOf, keysFor } from "./by_node.mjs";
import { everyNode, nodeOf, nodeRunAs, workflowId } from "./graph.mjs";
import { putLast } from "./latest.mjs";
import { isForeign, workflowOf } from "./prompts.mjs";
import { restore, store } from "./session.mjs";

const STORE = "semantic_focus.results";
const LASTING = ["semantic_focus", "semantic_focus_table"]; // what is shown again after a reload: regions, tables
const MOST_KEPT = 60;
const MOST_LETTERS = 100_000; // of one result

/**
 * @typedef {(node: any, value: any[], fresh: boolean) => void} Taker
 *   `fresh`: just executed; else what the editor remembered, for a node that is a new one
 */

/** @type {[string, Taker][]} */
const takers = [];

/** @type {Map<string, Record<string, any>>} by workflow and node: its latest output, of the keys that last */
const kept = new Map(restore(STORE, []));

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

/** @type {WeakSet<object>} what is kept and was seen to be there, or came just now */
const present = new WeakSet();

/**
 * Whether the pictures of a kept output are still there: a server that was started anew has others.
 * @param {Record<string, any>} output
 */
async function isThere(output) {
  const picture = output.semantic_focus?.[0]?.map;
  if (!picture || present.has(output)) return true;
  const answer = await api.fetchApi(`/view?${new URLSearchParams(picture)}`, { method: "HEAD" }).catch(() => null);
  if (answer?.ok) present.add(output);
  return Boolean(answer?.ok);
}

/**
 * Keep what a node reported, for after a reload: the editor forgets it then.
 * @param {string} key
 * @param {Record<string, any> | undefined} output
 */
function keep(key, output) {
  const lasting = Object.fromEntries(LASTING.filter((name) => output?.[name]).map((name) => [name, output?.[name]]));
  if (!Object.keys(lasting).length) return;
  if (JSON.stringify(lasting).length > MOST_LETTERS) kept.delete(key);
  else putLast(kept, key, lasting, MOST_KEPT);
  present.add(lasting);
  store(STORE, [...kept]);
}

api.addEventListener("executed", ({ detail }) => {
  const id = String(detail.display_node ?? detail.node);
  keep(keyOf(workflowOf(detail.prompt_id) ?? workflowId(), id), detail.output);
  if (!isForeign(detail.prompt_id)) give(nodeRunAs(id), detail.output, true);
});

app.registerExtension({
  name: "SemanticFocus.Results",
  // after a reload
  afterConfigureGraph() {
    for (const { node } of kept.size ? everyNode() : []) {
      const [key] = keysFor(kept, node);
      const output = key && kept.get(key);
      if (!output) continue;
      isThere(output).then((there) => {
        if (there && kept.get(key) === output) give(node, output, false);
      });
    }
  },
  // back in a workflow's tab: the nodes are new ones, and may have run meanwhile
  onNodeOutputsUpdated(outputs) {
    for (const [key, output] of Object.entries(outputs)) give(nodeOf(key), output, false);
  },
});
