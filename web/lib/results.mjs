// What nodes report when they run, given to the node that it belongs to: the editor gives a result to the node of that
// id in the workflow that is shown, even when another workflow was run.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { nodeOf, nodeRunAs, rootGraph } from "./graph.mjs";
import { restore, store } from "./session.mjs";

/**
 * @typedef {(node: any, value: any[], fresh: boolean) => void} Taker
 *   `fresh`: just executed; else what the editor remembered, for a node that is a new one
 */

const STORE = "semantic_focus.prompts";
const MOST_PROMPTS = 200;

/** @type {Map<string, string | null>} the workflow of each prompt of this tab if it is known, the latest last */
const workflows = new Map(restore(STORE, []));

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
 * Whether this tab queued a prompt. Every tab hears of those that a program queued without naming itself.
 * @param {string | null | undefined} prompt its id
 */
export function isOwn(prompt) {
  return Boolean(prompt && workflows.has(prompt));
}

/**
 * Whether a prompt is known to be of another workflow than the one that is shown.
 * @param {string | null | undefined} prompt its id
 */
export function isForeign(prompt) {
  const workflow = prompt ? workflows.get(prompt) : null;
  return Boolean(workflow) && workflow !== String(rootGraph()?.id);
}

/**
 * @param {string} prompt
 * @param {string | null} workflow
 */
function note(prompt, workflow) {
  workflows.set(prompt, workflow);
  if (workflows.size > MOST_PROMPTS) workflows.delete(/** @type {string} */ (workflows.keys().next().value));
  store(STORE, [...workflows]);
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

const queue = api.queuePrompt;
api.queuePrompt = async function (number, prompt, ...rest) {
  const answer = await queue.call(this, number, prompt, ...rest);
  if (answer?.prompt_id) note(answer.prompt_id, prompt.workflow?.id ?? null);
  return answer;
};

// it may begin before the answer is here
api.addEventListener("execution_start", ({ detail }) => isOwn(detail.prompt_id) || note(detail.prompt_id, null));

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
