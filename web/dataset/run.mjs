// Making the masks of a dataset at a click: asking for it, how far it is, and Cancel.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { CACHER, executionId, makerOf } from "./source.mjs";

const ENDS = /** @type {const} */ (["execution_success", "execution_error", "execution_interrupted"]);
const FIRST_OF_OURS = 1_000_000; // no node of a workflow has so high an id

/**
 * @typedef {{state: "idle" | "queued" | "running", done: number, total: number}} Progress `total` is 0 when only
 * the mask files tell how far it is
 */

export class MaskRun {
  /**
   * @param {any} node
   * @param {{progressed: (progress: Progress) => void, told: (output: any) => void, ended: (error: string) =>
   *   void}} listener `ended` is told of every prompt's end; the error is of one of ours
   */
  constructor(node, listener) {
    this.node = node;
    this.listener = listener;
    /** @type {string | null} of the prompt that makes masks */
    this.prompt = null;
    /** @type {string | null} execution id of the node in it */
    this.target = null;
    /** @type {Progress} */
    this.progress = { state: "idle", done: 0, total: 0 };
    this.onState = ({ detail }) => this.hear(detail);
    this.onEnd = ({ type, detail }) => this.end(type, detail);
    this.onOutput = ({ detail }) => {
      if (detail.prompt_id === this.prompt && detail.node === this.target) this.listener.told(detail.output);
    };
  }

  /** Listen to the server; again has no effect. */
  open() {
    api.addEventListener("progress_state", this.onState);
    api.addEventListener("executed", this.onOutput);
    for (const event of ENDS) api.addEventListener(event, this.onEnd);
  }

  /** Listen no more. */
  close() {
    api.removeEventListener("progress_state", this.onState);
    api.removeEventListener("executed", this.onOutput);
    for (const event of ENDS) api.removeEventListener(event, this.onEnd);
  }

  /** @param {Partial<Progress>} change */
  tell(change) {
    this.progress = { ...this.progress, ...change };
    this.listener.progressed(this.progress);
  }

  /**
   * Make what is missing or stale. The masks of a Load Semantic Dataset are made with the settings of the node that
   * segments its pictures, by a Cache Dataset Masks that only the server sees: it goes from file to file, where the
   * other holds all pictures in memory, and does nothing when ComfyUI still has its result.
   */
  async start() {
    this.tell({ state: "queued", done: 0, total: 0 });
    try {
      const { output, workflow } = await app.graphToPrompt();
      this.target = this.node.comfyClass === CACHER ? (executionId(this.node) ?? "") : this.addCacher(output);
      // the whole prompt, or ComfyUI would forget the results of the other nodes
      const answer = await api.queuePrompt(0, { output, workflow }, { partialExecutionTargets: [this.target] });
      this.prompt = answer.prompt_id;
      if (this.early === this.prompt) this.finish();
    } catch (error) {
      this.tell({ state: "idle" });
      throw new Error(complaint(error));
    }
  }

  /**
   * @param {Record<string, any>} output of a prompt
   * @returns {string} id of the new node
   */
  addCacher(output) {
    const own = output[executionId(this.node) ?? ""];
    const { backend, refine, keywords, keep_overlaps = false } = output[makerOf(this.node, output) ?? ""].inputs;
    let id = FIRST_OF_OURS;
    while (String(id) in output) id++;
    const inputs = { folder: own.inputs.folder, backend, refine, keywords, keep_overlaps };
    const rest = { recursive: false, force: false, report: false };
    output[String(id)] = {
      class_type: CACHER,
      inputs: { ...inputs, ...rest },
      _meta: { title: "Cache Dataset Masks" },
    };
    return String(id);
  }

  /** Stop what runs, or take it out of the queue. */
  async cancel() {
    if (!this.prompt) return;
    if (this.progress.state === "running") await api.interrupt(this.prompt);
    else {
      await api.deleteItem("queue", this.prompt);
      this.finish();
    }
  }

  /**
   * The state of the nodes of the prompt that runs.
   * @param {{prompt_id: string, nodes: Record<string, {state: string, value: number, max: number}>}} detail
   */
  hear({ prompt_id, nodes }) {
    const ours = this.prompt === prompt_id && this.target ? nodes[this.target] : nodes[this.watched ?? ""];
    if (ours?.state === "running") {
      this.prompt = prompt_id;
      this.tell({ state: "running", done: ours.value, total: ours.max > 1 ? ours.max : 0 });
    } else if (this.prompt === prompt_id && this.progress.state === "running") {
      this.finish(); // the prompt goes on with other nodes
    }
  }

  /**
   * @param {string} event
   * @param {any} detail
   */
  end(event, detail) {
    const ours = detail.prompt_id === this.prompt;
    if (!this.prompt) this.early = detail.prompt_id; // it may end before the server's answer is here
    if (ours) this.finish();
    this.listener.ended(ours && event === "execution_error" ? detail.exception_message.trim() : "");
  }

  finish() {
    this.prompt = this.target = null;
    this.tell({ state: "idle" });
  }

  /**
   * The node whose runs count too when the user presses Run.
   * @param {string | null} id
   */
  watch(id) {
    this.watched = id;
  }
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
