// The training of a node: it runs in this ComfyUI, and can be stopped.
import { learn, runOf } from "./runs.mjs";
import { showsRare, toggleRare } from "./sockets.mjs";
import { isRunning } from "./words.mjs";
import { button, entitle } from "../lib/controls.mjs";
import { interrupt, runsWhole } from "../lib/prompts.mjs";
import { text } from "../lib/text.mjs";

/**
 * @typedef {import("./runs.mjs").Run} Run
 * @typedef {import("./panel.mjs").Source} Source
 */

/** @implements {Source} */
export class OwnTraining {
  /**
   * @param {any} node
   * @param {() => void} changed
   */
  constructor(node, changed) {
    this.node = node;
    this.changed = changed;
    /** @type {Run | undefined} the run that was asked to stop */
    this.stopping = undefined;
    this.stop = button(() => this.interrupt(), { className: "sf-button sf-training-stop" });
    this.controls = [this.stop];
    this.below = [];
    this.sockets = button(() => this.unfold(), { textContent: "⊕" });
    this.tools = [this.sockets];
  }

  run() {
    learn();
    return runOf(this.node);
  }

  nothing() {
    return text(runsWhole() ? "training.preparing" : "training.waiting");
  }

  notes() {
    return [];
  }

  speak() {
    this.stop.title = text("training.stopHint");
    entitle(this.sockets, text("training.sockets"));
  }

  /** @param {Run | undefined} run */
  draw(run) {
    const running = Boolean(run && isRunning(run));
    const stopping = running && this.stopping?.run === run?.run;
    this.stop.disabled = !running || stopping;
    this.stop.textContent = text(stopping ? "training.stopping" : "training.stop");
    this.sockets.setAttribute("aria-pressed", String(showsRare(this.node)));
  }

  /** Show the sockets that few trainings use, or fold them. */
  unfold() {
    toggleRare(this.node);
    this.changed();
  }

  interrupt() {
    const run = runOf(this.node);
    if (!run) return;
    this.stopping = run;
    this.changed();
    interrupt(run.prompt).catch(() => {
      this.stopping = undefined;
      this.changed();
    });
  }
}
