// The prompts of this tab: which were queued here, for which workflow, and when each is over, in whatever way. One that
// is taken out of the queue has no end that is told.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { workflowId } from "./graph.mjs";
import { putLast } from "./latest.mjs";
import { post } from "./server.mjs";
import { restore, store } from "./session.mjs";

const STORE = "semantic_focus.prompts";
const MOST_PROMPTS = 200;

/** @type {Map<string, string | null>} the workflow of each prompt if it is known, the latest last */
const workflows = new Map(restore(STORE, []));

/** @type {WeakMap<object, string>} the prompt that was queued for a list of nodes */
const queuedFor = new WeakMap();

/** @type {Set<string>} prompts that run all of their workflow */
const whole = new Set();

/** @type {string | null} the prompt that runs */
let running = null;

/** @type {(() => void)[]} */
const listeners = [];

/** @typedef {{prompt: string, over: () => any}} Wait */
/** @type {Set<Wait>} */
const waiting = new Set();

/**
 * Whether this tab queued a prompt. Every tab hears of those that a program queued without naming itself.
 * @param {string | null | undefined} prompt its id
 */
export function isOwn(prompt) {
  return Boolean(prompt && workflows.has(prompt));
}

/** @param {string} prompt its id @returns {string | null} the workflow that it is of, where it is known */
export const workflowOf = (prompt) => workflows.get(prompt) ?? null;

/**
 * Whether a prompt is known to be of another workflow than the one that is shown.
 * @param {string | null | undefined} prompt its id
 */
export function isForeign(prompt) {
  const workflow = prompt ? workflows.get(prompt) : null;
  return Boolean(workflow) && workflow !== workflowId();
}

/** Whether the server is at work on all of the workflow that is shown, asked by this tab. */
export function runsWhole() {
  return running !== null && whole.has(running) && workflows.get(running) === workflowId();
}

/**
 * Be told when `runsWhole` may have changed.
 * @param {() => void} listener
 */
export function onPrompts(listener) {
  listeners.push(listener);
}

/** @typedef {{message: string, details: string}} Refusal as ComfyUI's server gives it */
/** @type {((errors: Refusal[]) => void)[]} */
const refusals = [];

/**
 * Be told why parts of a prompt are not run that was taken because of others: the editor only colours their nodes.
 * @param {(errors: Refusal[]) => void} listener
 */
export function onRefusals(listener) {
  refusals.push(listener);
}

/** @param {string | null} prompt that runs now */
function nowRuns(prompt) {
  running = prompt;
  for (const listener of listeners) listener();
}

/**
 * @param {string} prompt
 * @param {string | null} workflow
 */
function note(prompt, workflow) {
  putLast(workflows, prompt, workflow, MOST_PROMPTS);
  store(STORE, [...workflows]);
}

/**
 * Run what some nodes of the workflow need.
 * @param {string[]} ids that a run calls them by
 * @returns {Promise<string | null>} the prompt; null when there is none yet, or the server refused it
 */
export async function runNodes(ids) {
  // the editor does not tell which prompt it made, but hands this very list on
  await app.queuePrompt(0, 1, ids);
  return queuedFor.get(ids) ?? null;
}

/**
 * End a prompt that runs, as the editor's Cancel does, in every version of it.
 * @param {string | null} prompt id; null ends whatever runs
 * @throws {Error} the server did not take it
 */
export async function interrupt(prompt) {
  const answer = await post("/interrupt", prompt ? { prompt_id: prompt } : {});
  if (!answer.ok) throw new Error(`/interrupt: HTTP ${answer.status}`);
}

/**
 * Take a prompt out of the queue, or end it.
 * @param {string} prompt id
 * @throws {Error} the server is away
 */
export async function cancel(prompt) {
  await post("/queue", { delete: [prompt] });
  await interrupt(prompt);
  await lookForEnds();
}

/**
 * Call back when the server does not have a prompt any more.
 * @param {string} prompt id
 * @param {() => any} over what it returns is awaited; when that fails, it is called again later
 */
export function whenOver(prompt, over) {
  waiting.add({ prompt, over });
}

let looking = Promise.resolve();

/** Look which prompts are over: after what may have ended one before anybody listened. */
export function lookForEnds() {
  looking = looking.then(look).catch(() => undefined); // the server is away
  return looking;
}

async function look() {
  const asked = [...waiting];
  if (!asked.length) return;
  const { queue_running, queue_pending } = await (await api.fetchApi("/queue")).json();
  const present = new Set([...queue_running, ...queue_pending].map(([, prompt]) => prompt));
  const end = async (wait) => {
    await wait.over();
    waiting.delete(wait);
  };
  await Promise.allSettled(asked.filter(({ prompt }) => !present.has(prompt)).map(end));
}

const queue = api.queuePrompt;
api.queuePrompt = async function (number, prompt, options, ...rest) {
  const answer = await queue.call(this, number, prompt, options, ...rest);
  if (answer?.prompt_id) {
    note(answer.prompt_id, prompt.workflow?.id ?? null);
    if (options?.partialExecutionTargets) queuedFor.set(options.partialExecutionTargets, answer.prompt_id);
    else whole.add(answer.prompt_id);
    nowRuns(running); // it may have begun before
    const errors = Object.values(answer.node_errors ?? {}).flatMap((node) => node.errors ?? []);
    if (errors.length) for (const tell of refusals) tell(errors);
  }
  return answer;
};

// it may begin before the answer is here
api.addEventListener("execution_start", ({ detail }) => {
  if (!isOwn(detail.prompt_id)) note(detail.prompt_id, null);
  nowRuns(detail.prompt_id);
});

for (const end of /** @type {const} */ (["execution_success", "execution_error", "execution_interrupted"])) {
  api.addEventListener(end, ({ detail }) => {
    whole.delete(detail.prompt_id);
    nowRuns(null);
  });
}

for (const event of ["status", "reconnected"]) api.addEventListener(event, lookForEnds);
