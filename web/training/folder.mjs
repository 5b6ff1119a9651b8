// A training that runs elsewhere, by the folder that it writes. The server is asked again and again while somebody sees
// the panel, and only about a folder that the user has chosen or used (see ../dataset/known.mjs).
import { chooseRun } from "./choose.mjs";
import { joined } from "./points.mjs";
import { isKnown, remember, RUNS } from "../dataset/known.mjs";
import { ask } from "../dataset/source.mjs";
import { say } from "../dataset/words.mjs";
import { app } from "../../../scripts/app.js";
import { button, entitle } from "../lib/controls.mjs";
import { placesOf } from "../lib/graph.mjs";
import { valueOf } from "../lib/graph_walk.mjs";
import { element, undoable, widgetOf } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";

/**
 * @typedef {import("./runs.mjs").Run} Run
 * @typedef {import("./panel.mjs").Source} Source
 */

const ROUTE = "/semantic_focus/training/folder";
const PATIENCE = 500; // ms after the last letter of a folder
const PACE = 3000; // ms between two looks at what may grow
const REST = 15000; // ms where nothing has for long
const SLOW = 8000; // ms without an answer, after which that is said
const AT_REST = ["finished", "interrupted", "silent"];

/** @implements {Source} */
export class WatchedFolder {
  /**
   * @param {any} node
   * @param {() => void} changed
   */
  constructor(node, changed) {
    this.node = node;
    this.changed = changed;
    /** @type {Run | undefined} */
    this.last = undefined;
    /** @type {string | null} the folder that `last` and `problem` are of; null: only a run can tell it */
    this.folder = "";
    this.problem = ""; // why there is nothing new, as the server says it
    this.isSlow = false;
    this.isSeen = false;
    /** @type {AbortController | undefined} of the question that has no answer yet */
    this.asking = undefined;
    this.open = button(() => this.choose(), {}, [element("i", { className: "pi pi-folder-open" })]);
    this.controls = [this.open];
    this.question = element("p");
    this.place = element("code");
    this.allow = button(() => this.allowed());
    this.permission = element("div", { className: "sf-training-ask" }, [this.question, this.place, this.allow]);
    this.fault = element("p");
    this.words = button(() => this.choose());
    this.start = element("div", { className: "sf-training-ask", role: "status" }, [this.fault, this.words]);
    this.below = [this.permission, this.start];
    this.observer = new IntersectionObserver(([{ isIntersecting }]) => this.see(isIntersecting));
    this.awake = () => !document.hidden && this.look();
  }

  /** @param {HTMLElement} panel */
  attach(panel) {
    this.observer.observe(panel);
    document.addEventListener("visibilitychange", this.awake);
    this.look();
  }

  detach() {
    this.observer.disconnect();
    document.removeEventListener("visibilitychange", this.awake);
    clearTimeout(this.timer);
    this.giveUp();
    this.isSeen = false;
  }

  /** @param {boolean} isSeen */
  see(isSeen) {
    const appeared = isSeen && !this.isSeen;
    this.isSeen = isSeen;
    if (appeared) this.look();
  }

  /** @param {number} rest ms until the next look */
  schedule(rest) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), rest);
  }

  /** The folder may be another one: look when nobody types any more. */
  folderChanged() {
    if (this.folderNow !== this.folder) this.schedule(PATIENCE);
  }

  /** The folder that the node has; null when only a run can tell it, undefined when the node is in no graph. */
  get folderNow() {
    const [place] = placesOf(this.node);
    const folder = place && valueOf(place, "folder");
    return place && (typeof folder === "string" ? folder.trim() : null);
  }

  /** The folder that the user may have asked about; "" where there is none to ask about. */
  get askable() {
    return this.folder && isKnown(this.folder) ? this.folder : "";
  }

  /** Take in which folder the node has now. */
  learnFolder() {
    const folder = this.folderNow;
    if (folder === undefined || folder === this.folder) return;
    this.folder = folder;
    this.last = undefined;
    this.problem = "";
    this.giveUp();
  }

  /** Nobody waits for the answer any more. */
  giveUp() {
    const { asking } = this;
    this.asking = undefined;
    this.isSlow = false;
    asking?.abort();
  }

  async look() {
    clearTimeout(this.timer);
    this.learnFolder();
    const folder = this.askable;
    if (!folder || !this.isSeen || document.hidden || this.asking) return this.changed();
    const asking = (this.asking = new AbortController());
    const slow = setTimeout(() => this.say({ isSlow: true }), SLOW);
    try {
      const known = this.last && { run: this.last.run, after: this.last.points.step.at(-1) ?? 0 };
      const answer = await ask(ROUTE, { folder, ...known }, asking.signal);
      if (asking === this.asking) this.take(folder, answer);
    } catch (error) {
      const away = error instanceof TypeError; // as fetch says it
      if (asking === this.asking) this.say({ problem: away ? text("training.away") : error.message });
    } finally {
      clearTimeout(slow);
      if (asking === this.asking) this.goOn();
    }
  }

  /** The answer has come. */
  goOn() {
    this.asking = undefined;
    this.say({ isSlow: false });
    const { state = "gone" } = this.run() ?? {};
    this.schedule(state === "reading" ? 0 : AT_REST.includes(state) ? REST : PACE);
  }

  /**
   * @param {string} folder that was asked about
   * @param {{folder: string, report: any}} answer
   */
  take(folder, { folder: place, report }) {
    const samples = report.samples.map((sample) => ({ ...sample, folder: place }));
    const { run, missing } = joined(this.last, { ...report, samples });
    remember(folder, RUNS);
    // the server keeps fewer points than have come here: take its own with the next answer
    this.last = missing ? { ...run, run: "" } : run;
    this.say({ problem: "" });
  }

  /** @param {{problem?: string, isSlow?: boolean}} change */
  say(change) {
    Object.assign(this, change);
    this.changed();
  }

  /** @returns {Run | undefined} */
  run() {
    return this.last && this.problem ? { ...this.last, state: "gone" } : this.last;
  }

  nothing() {
    if (this.folder === null) return text("training.linked");
    if (!this.folder) return text("training.noFolder");
    if (!this.askable) return text("training.notAsked");
    return text(this.problem ? "training.nothingThere" : "training.looking");
  }

  notes() {
    const slow = this.isSlow ? [text("training.slow")] : [];
    return this.problem && this.last ? [...slow, say(this.problem)] : slow;
  }

  speak() {
    entitle(this.open, text("training.chooseRun"));
    this.words.textContent = text("training.chooseRunHere");
    this.question.textContent = text("dataset.unknownFolder");
    this.allow.textContent = text("dataset.showFolder");
  }

  draw() {
    const unasked = Boolean(this.folder && !this.askable);
    this.place.textContent = unasked ? this.folder : "";
    this.permission.classList.toggle("sf-hidden", !unasked);
    this.open.classList.toggle("sf-hidden", !this.widget);
    const fault = this.problem && say(this.problem);
    if (this.fault.textContent !== fault) this.fault.textContent = fault; // what a user has selected stays so
    this.words.classList.toggle("sf-hidden", !this.widget);
    const isWaiting = Boolean(this.folder) && !this.problem;
    this.start.classList.toggle("sf-hidden", Boolean(this.last) || unasked || isWaiting || this.folder === null);
  }

  /** The user wants to see the folder that the workflow names. */
  allowed() {
    remember(this.folder ?? "", RUNS);
    this.open.focus(); // the button goes
    this.look();
  }

  /** The widget with the folder; null when the folder comes from another node. */
  get widget() {
    return this.folder === null ? null : (widgetOf(this.node, "folder") ?? null);
  }

  async choose() {
    const { widget } = this;
    if (!widget) return;
    await chooseRun(this.folder ?? "", (folder) => this.set(widget, folder));
    this.open.focus();
  }

  /**
   * @param {any} widget
   * @param {string} folder
   */
  set(widget, folder) {
    remember(folder, RUNS);
    undoable(() => {
      widget.value = folder;
      widget.callback?.(folder, app.canvas, this.node);
    });
    this.look();
  }
}
