// The runs that make masks, asked for at a click or part of another prompt, and what they said. Kept by workflow and
// node: panels come and go with Undo, a reload and the workflow's tab.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { keyOf, keysFor } from "../lib/by_node.mjs";
import { nodeRunAs, workflowId } from "../lib/graph.mjs";
import { putLast } from "../lib/latest.mjs";
import { isForeign, isOwn, lookForEnds, whenOver } from "../lib/prompts.mjs";
import { restore, store } from "../lib/session.mjs";
import { CACHER, executionId, SEGMENTER, sourceOf } from "./source.mjs";

const ENDS = /** @type {const} */ (["execution_success", "execution_error", "execution_interrupted"]);
const MAKERS = [CACHER, SEGMENTER];
const FIRST_OF_OURS = 1_000_000; // no node of a workflow has so high an id
const STORE = "semantic_focus.dataset_runs";
const MOST_RESULTS = 50;

/**
 * @typedef {{filename: string, subfolder: string, type: string, path: string}} Report
 * @typedef {{folder: string, counts: Record<string, number>, segmenter: string, to_look_at: number, failures: string[],
 *   remarks?: string[], report: Report | null}} Told by nodes/dataset_cache.py
 * @typedef {Told | {error: string, asked: string | null}} Result
 * @typedef {{prompt: string | null, target: string, asked: string | null, state: "queued" | "running", done: number,
 *   total: number}} Run `asked` is the folder as the graph has it, `prompt` is null until the server has answered, `target` the run id of the node that makes the masks, `total` 0 when
 * only the mask files tell how far it is
 */

const stored = restore(STORE, { own: [], results: [] });

/** @type {Map<string, Run>} by workflow and node: those that were asked for at a click */
const own = new Map(stored.own);

/** @type {Map<string, Result>} by workflow and node, the latest last */
const results = new Map(stored.results);

/** @type {{prompt: string, workflow: string, runs: Map<string, Run>} | null} makers in a prompt that Run queued */
let elsewhere = null;

/** @type {((ended: boolean) => void)[]} */
const listeners = [];

/**
 * Be told when a run is further, or with `ended` when mask files may have changed.
 * @param {(ended: boolean) => void} listener
 */
export function onRuns(listener) {
  listeners.push(listener);
}

/** @param {boolean} ended */
function tell(ended) {
  for (const listener of listeners) listener(ended);
}

function save() {
  const known = [...own].filter(([, { prompt }]) => prompt).map(([key, run]) => [key, { ...run, state: "queued" }]);
  store(STORE, { own: known, results: [...results] });
}

/**
 * @param {string} key
 * @param {Result} result
 */
function remember(key, result) {
  putLast(results, key, result, MOST_RESULTS);
  save();
}

/**
 * The run that makes the masks of a dataset node.
 * @param {any} node
 * @param {string | null | undefined} maker run id of the node that makes them
 * @returns {Run | undefined}
 */
export function runFor(node, maker) {
  const [key] = keysFor(own, node);
  if (key) return own.get(key);
  const workflow = workflowId();
  const same = ([at, { target }]) => target === maker && at.startsWith(keyOf(workflow));
  const shared = [...own].find(same)?.[1];
  if (shared?.state === "running") return shared;
  return maker && elsewhere?.workflow === workflow ? elsewhere.runs.get(maker) : undefined;
}

/**
 * What the last run of a node said, as long as the node has the folder that it was about.
 * @param {any} node
 * @param {string} folder as the server names the present one, empty when it is not known
 * @returns {Result | undefined}
 */
export function resultFor(node, folder) {
  const [key] = keysFor(results, node);
  const result = results.get(key);
  if (!result) return undefined;
  const isOfIt = "error" in result ? result.asked === sourceOf(node)?.folder : result.folder === folder;
  return isOfIt ? result : undefined;
}

/**
 * @param {any} node
 * @param {Result} result
 * @param {boolean} fresh it is of now, and not what the editor remembered
 */
export function keepResult(node, result, fresh) {
  const id = executionId(node);
  const key = id && keyOf(workflowId(), id);
  if (!key || (!fresh && results.has(key))) return;
  remember(key, result);
  tell(false);
}

/**
 * Make what is missing or stale. Without a Cache Dataset Masks, the masks of a Load Semantic Dataset are made with the
 * settings of the node that segments its pictures, by a Cache Dataset Masks that only the server sees: it goes from
 * file to file, where the other holds all pictures in memory, and does nothing when ComfyUI still has its result.
 * @param {any} node
 */
export async function start(node) {
  const { maker = null, folder: asked = null } = sourceOf(node) ?? {};
  const id = executionId(node);
  if (!id || !maker || keysFor(own, node).length) return;
  const key = keyOf(workflowId(), id);
  /** @type {Run} */
  const run = { prompt: null, target: maker, asked, state: "queued", done: 0, total: 0 };
  own.set(key, run);
  results.delete(key);
  tell(false);
  try {
    const { output, workflow } = await app.graphToPrompt();
    if (output[maker].class_type !== CACHER) run.target = addCacher(output, id, maker);
    // the whole prompt, or ComfyUI would forget the results of the other nodes
    const answer = await api.queuePrompt(0, { output, workflow }, { partialExecutionTargets: [run.target] });
    run.prompt = answer.prompt_id;
    save();
    watch(key, run);
    await lookForEnds(); // it may have ended before the answer was here
  } catch (error) {
    finish(key, { error: complaint(error), asked });
  }
}

/**
 * @param {Record<string, any>} output of a prompt
 * @param {string} id of the dataset node in it
 * @param {string} maker id of the node that segments its pictures
 * @returns {string} id of the new node
 */
function addCacher(output, id, maker) {
  const { backend, refine, keywords, keep_overlaps = false } = output[maker].inputs;
  let free = FIRST_OF_OURS;
  while (String(free) in output) free++;
  const settings = { folder: output[id].inputs.folder, backend, refine, keywords, keep_overlaps };
  output[String(free)] = {
    class_type: CACHER,
    inputs: { ...settings, recursive: false, force: false, report: false },
    _meta: { title: "Cache Dataset Masks" },
  };
  return String(free);
}

/**
 * @param {string} key
 * @param {Result} [result]
 */
function finish(key, result) {
  own.delete(key);
  if (result) remember(key, result);
  save();
  tell(true);
}

/**
 * What the node that makes the masks told.
 * @param {string} key of the run
 * @param {Run} run
 * @param {any} output
 */
function take(key, { target }, output) {
  const result = output?.semantic_focus_masks?.[0];
  if (!result) return;
  const [workflow] = key.split(" ");
  for (const at of new Set([key, keyOf(workflow, target)])) remember(at, result);
  tell(false);
}

/**
 * End a run that the server does not have any more, when its end was not heard.
 * @param {string} key
 * @param {Run} run
 */
function watch(key, run) {
  whenOver(String(run.prompt), async () => {
    if (own.get(key) !== run) return;
    const history = await (await api.fetchApi(`/history/${run.prompt}`)).json();
    if (own.get(key) !== run) return;
    take(key, run, history[String(run.prompt)]?.outputs?.[run.target]);
    finish(key);
  });
}

/** @param {string} prompt that the server does not have any more */
function leave(prompt) {
  if (elsewhere?.prompt !== prompt) return;
  elsewhere = null;
  tell(true);
}

/**
 * The state of the nodes of the prompt that runs.
 * @param {{prompt_id: string, nodes: Record<string, {state: string, value: number, max: number}>}} detail
 */
function hear({ prompt_id: prompt, nodes }) {
  /** @param {string} target @returns {Run | undefined} */
  const running = (target) => {
    const { state, value: done, max } = nodes[target] ?? {};
    return state === "running" ? { prompt, target, asked: null, state, done, total: max > 1 ? max : 0 } : undefined;
  };
  const ours = [...own.values()].filter((run) => run.prompt === prompt);
  for (const run of ours) Object.assign(run, running(run.target), { asked: run.asked });
  if (ours.length) return tell(false);
  if (!isOwn(prompt) || isForeign(prompt)) return;
  if (elsewhere?.prompt !== prompt) whenOver(prompt, () => leave(prompt));
  const before = elsewhere?.prompt === prompt ? elsewhere.runs : new Map();
  const runs = new Map();
  for (const id of Object.keys(nodes).filter(running)) {
    if (MAKERS.includes(nodeRunAs(id)?.type)) runs.set(id, running(id));
  }
  elsewhere = { prompt, workflow: workflowId(), runs };
  const done = [...before.keys()].some((id) => !runs.has(id));
  if (done || runs.size) tell(done);
}

/**
 * @param {string} event
 * @param {any} detail
 */
function end(event, detail) {
  if (elsewhere?.prompt === detail.prompt_id) elsewhere = null;
  const error = event === "execution_error" ? detail.exception_message.trim() : "";
  for (const [key, run] of [...own]) {
    if (run.prompt === detail.prompt_id) finish(key, error ? { error, asked: run.asked } : undefined);
  }
  tell(true);
}

/**
 * What the server has against a prompt.
 * @param {any} error
 */
function complaint(error) {
  const { error: summary, node_errors: nodes = {} } = error.response ?? {};
  const lines = Object.values(nodes).flatMap((node) => node.errors.map(({ details, message }) => details || message));
  return lines.join("\n") || summary?.message || error.message;
}

for (const event of ENDS) api.addEventListener(event, ({ type, detail }) => end(type, detail));
api.addEventListener("progress_state", ({ detail }) => hear(detail));
api.addEventListener("executed", ({ detail }) => {
  for (const [key, run] of own) {
    if (run.prompt === detail.prompt_id && run.target === String(detail.node)) take(key, run, detail.output);
  }
});
for (const [key, run] of own) watch(key, run);
lookForEnds();
