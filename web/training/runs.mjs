// The trainings of this server as nodes/training_status.py reports them: to every tab while they run, and on request.
import { api } from "../../../scripts/api.js";
import { keyOf, keysFor } from "../lib/by_node.mjs";
import { runIdsOf, workflowId } from "../lib/graph.mjs";
import { joined, withNaN } from "./points.mjs";
import { isRunning } from "./words.mjs";

/** @typedef {"begun" | "reading" | "silent" | "interrupted" | "gone"} FolderState of a training that runs elsewhere */

/**
 * @typedef {{step: number[], loss: number[], regions: Record<string, number[]>, drift: Record<string, number[]>}}
 *   Validation of what is held out
 * @typedef {{step: number[], total: number[], prior: number[], learning_rate: number[],
 *   regions: Record<string, number[]>, validation?: Validation}} Points NaN where a step has none
 * @typedef {{region: string, first: number, last: number, share: number | null, cover: number}} Row
 * @typedef {{step: number, state: string | null, lora: string | null, again: boolean}} Kept
 * @typedef {{kind: string, text: string, values: Record<string, string>}} Note
 * @typedef {{needed: number, free: number, swap: number, inputs: boolean}} Memory GiB; swap in percent
 * @typedef {{run: string, revision: number, workflow: string | null, node: string, prompt: string | null,
 *   state: "starting" | "running" | "stopped" | "failed" | "finished" | "lost" | FolderState, step: number, steps: number,
 *   rate: number | null, folder: string | null, samples?: import("./strip.mjs").Sample[], kept: Kept | null,
 *   error: string | null, rows: Row[] | null, worse?: boolean, memory?: Memory | null, notes: Note[], gradient_share: Record<string, number>,
 *   coverage: Record<string, number>, after: number, points: any, read?: number, silent?: number}} Report
 *   `steps` 0: not known; `read` and `silent` of a run folder: the share of its curves that was read, and the seconds since
 *   something was written
 * @typedef {Omit<Report, "points"> & {points: Points}} Run
 */

const EVENT = "semantic_focus.training";
const ROUTE = "/semantic_focus/training";

/** @type {Map<string, Run>} by workflow and node */
const runs = new Map();

/** @type {Set<() => void>} */
const listeners = new Set();

/** @type {Map<string, Promise<void>>} by workflow: what was asked of the server, once */
const asked = new Map();

/**
 * The training that a node shows.
 * @param {any} node
 * @returns {Run | undefined}
 */
export function runOf(node) {
  const own = keysFor(runs, node).flatMap((key) => runs.get(key) ?? []);
  return own.find(({ state }) => state === "running") ?? own.at(-1);
}

/**
 * Be told whenever any training has something new; the returned function ends it.
 * @param {() => void} listener
 */
export function onTraining(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tell = () => listeners.forEach((listener) => listener());

/** @param {Report} report @returns {boolean} whether points are missing before it */
function take(report) {
  const key = keyOf(report.workflow, report.node);
  const { run, missing } = joined(runs.get(key), report);
  runs.set(key, run);
  return missing;
}

/**
 * What a node's result says, when the server does not know of a newer training.
 * @param {any} node
 * @param {Report} report
 * @param {boolean} fresh it has just been executed
 */
export function keep(node, report, fresh) {
  const workflow = workflowId();
  for (const id of runIdsOf(node)) {
    const present = runs.get(keyOf(workflow, id));
    if (present && (!fresh || (present.run === report.run && present.state === "finished"))) continue;
    runs.set(keyOf(workflow, id), { ...report, workflow, node: id, points: withNaN(report.points) });
  }
  tell();
}

/** @param {string} workflow */
async function ask(workflow) {
  const answer = await api.fetchApi(`${ROUTE}?${new URLSearchParams({ workflow })}`);
  if (!answer.ok) return; // an older server of ours: events and results still come
  const { trainings } = await answer.json();
  const alive = new Set(trainings.map(({ run }) => run));
  for (const [key, run] of runs) {
    if (run.workflow === workflow && isRunning(run) && !alive.has(run.run)) runs.set(key, { ...run, state: "lost" });
  }
  for (const training of trainings) take(training);
  tell();
}

/** Learn what the server knows of the shown workflow, once. */
export function learn() {
  const workflow = workflowId();
  if (!asked.has(workflow)) refresh(workflow);
}

/** @param {string} workflow */
function refresh(workflow) {
  const question = ask(workflow).catch(() => void asked.delete(workflow));
  asked.set(workflow, question);
}

api.addEventListener(EVENT, ({ detail }) => {
  if (take(detail)) refresh(detail.workflow);
  tell();
});

// the server was away, and may have been another one since
api.addEventListener("reconnected", () => {
  const known = [...asked.keys()];
  asked.clear();
  for (const workflow of known) refresh(workflow);
});
