// The dataset browser: the pictures of a node's folder with the status of their masks, and a button that makes them.
import { FolderField } from "./field.mjs";
import { Grid } from "./grid.mjs";
import { isKnown, remember } from "./known.mjs";
import { messageOf } from "./message.mjs";
import { tellAbsence } from "./report.mjs";
import { resultFor, runFor, start } from "./runs.mjs";
import { CACHER, list, reportedFolder, sourceOf, whyBroken } from "./source.mjs";
import { badge, layers, view } from "./view.mjs";
import { describe, FILTERS, folderInWords, notesOf, passes, problemsOf } from "./words.mjs";
import { say, statusName, summary } from "./words.mjs";
import { button, entitle } from "../lib/controls.mjs";
import { gravestFirst } from "../lib/doubts.mjs";
import { element, typedIn, undoable, widgetOf } from "../lib/panel.mjs";
import { presentPanels } from "../lib/present.mjs";
import { cancel } from "../lib/prompts.mjs";
import { text } from "../lib/text.mjs";

/**
 * @typedef {import("./source.mjs").Picture} Picture
 * @typedef {import("./source.mjs").Source} Source
 */

const PROPERTY = "semantic_focus_dataset";
const PATIENCE = 300; // ms without a change, before the server is asked
const BETWEEN_LOOKS = 2000; // ms, while masks are being made
const REST = 1.5; // times as long as a look took, before a folder that takes many looks is looked at again

/** @type {Map<any, DatasetPanel>} by node */
export const panels = presentPanels();

export class DatasetPanel {
  /** @param {any} node */
  constructor(node) {
    this.node = node;
    /** @type {Source | null} */
    this.source = null;
    this.folder = "";
    this.unasked = ""; // a folder that is not looked at before the user says so
    /** @type {Picture[]} */
    this.pictures = [];
    /** @type {Map<string, string>} what is wrong with pictures that could not be shown, by name and stamp */
    this.broken = new Map();
    /** @type {Set<string>} keys of tiles that lack something which may be had another time */
    this.lacking = new Set();
    /** @type {string[]} what lies in the folder and is not taken or was not looked at, in sentences */
    this.leftOut = [];
    /** @type {string[]} what else the last run said of the folder */
    this.remarks = [];
    this.asked = 0;
    this.error = "";
    this.looking = 0;
    this.lastLook = 0;
    /** @type {Grid<Picture>} */
    this.grid = new Grid("", {
      key: (picture) => this.keyOf(picture),
      draw: (picture) => this.tile(picture),
      open: (index) => this.open(index),
    });
    const changed = () => panels.forEach((panel) => panel.schedule(true)); // the same folder may have others now
    this.field = new FolderField(node, () => this.folder, changed);
    this.build();
    this.relabel();
  }

  build() {
    this.summary = element("div", { className: "sf-dataset-summary", role: "status" });
    const again = () => {
      this.broken.clear();
      this.look(true);
    };
    this.refresh = button(again, { textContent: "⟳" });
    this.filter = element("select", { className: "sf-field sf-dataset-filter" });
    this.filter.addEventListener("change", () => this.keep({ filter: this.filter.value }));
    this.regions = button(() => this.keep({ regions: !this.view.regions }), { textContent: "◪" });
    this.generate = button(() => start(this.node), { className: "sf-button sf-dataset-generate" });
    this.bar = element("progress", { max: 1 });
    this.count = element("span", { className: "sf-status", role: "status" });
    this.cancel = button(() => this.run?.prompt && cancel(this.run.prompt).catch(tellAbsence));
    this.progress = element("div", { className: "sf-row sf-dataset-progress" }, [this.bar, this.count, this.cancel]);
    this.message = element("div", { className: "sf-dataset-message" });
    this.missed = element("div", { className: "sf-dataset-missed", tabIndex: 0, role: "log" });
    this.empty = element("div", { className: "sf-dataset-empty", role: "status" });
    this.question = element("p", { id: `${this.grid.id}-question` });
    this.place = element("code");
    this.allow = button(() => this.allowed());
    this.allow.setAttribute("aria-describedby", this.question.id);
    const asking = [this.question, this.place, this.allow];
    this.ask = element("div", { className: "sf-dataset-empty sf-dataset-ask" }, asking);
    const head = element("div", { className: "sf-row" }, [this.summary, this.field.open, this.regions, this.refresh]);
    const tools = element("div", { className: "sf-row" }, [this.filter, this.generate, this.progress]);
    const parts = [this.grid.root, this.empty, this.ask, this.field.start];
    const body = element("div", { className: "sf-dataset-body" }, parts);
    this.root = element("div", { className: "sf-dataset" }, [head, tools, body, this.missed, this.message]);
    this.field.listen(this.root);
  }

  /** The node is in the workflow. */
  attach() {
    this.schedule(true);
  }

  /** The node is gone. */
  detach() {
    this.asked++; // no answer matters any more
    clearTimeout(this.timer);
    clearTimeout(this.resting);
    this.typing?.abort();
  }

  /** The server was away: what could not be shown may be there. */
  startOver() {
    this.broken.clear();
    this.schedule(true);
  }

  /** @param {string[]} remarks of a run that loaded the folder */
  remark(remarks) {
    this.remarks = remarks;
    this.remarked = reportedFolder(this.node);
    this.drawMessage();
  }

  /** The run that makes the masks, if there is one. */
  get run() {
    return runFor(this.node, this.source?.maker);
  }

  /** How the user looks at the pictures; kept in the workflow. */
  get view() {
    return { filter: "all", regions: true, ...this.node.properties[PROPERTY] };
  }

  /** @param {{filter?: string, regions?: boolean}} change */
  keep(change) {
    undoable(() => (this.node.properties[PROPERTY] = { ...this.view, ...change }));
    this.filter.blur(); // the editor ignores Ctrl+Z while a field has the focus
    this.draw();
  }

  /** What the node makes of the caption files. */
  get captions() {
    return this.source?.captions ?? { needed: false, trigger: "", otherwise: "" };
  }

  /** Words again: another language was chosen. */
  relabel() {
    entitle(this.refresh, text("dataset.refresh"));
    entitle(this.regions, text("dataset.showRegions"));
    entitle(this.filter, text("dataset.filter"));
    this.field.relabel();
    this.cancel.textContent = text("dataset.cancel");
    this.question.textContent = text("dataset.unknownFolder");
    this.allow.textContent = text("dataset.showFolder");
    this.bar.setAttribute("aria-label", text("dataset.making"));
    this.missed.setAttribute("aria-label", text("dataset.remarks"));
    this.grid.label(text("dataset.title"));
    this.repaint();
  }

  /** Tiles again: words or colours are others. */
  repaint() {
    this.grid.drop(this.grid.tiles.keys());
    this.draw();
  }

  /**
   * Look at the folder soon, when nobody is typing any more.
   * @param {boolean} anyway even when folder and settings are the same
   */
  schedule(anyway) {
    if (!panels.has(this.node)) return;
    this.anyway ||= anyway;
    clearTimeout(this.timer);
    const field = typedIn();
    this.timer = setTimeout(() => {
      if (field && field === typedIn()) this.wait();
      else this.look(this.anyway ?? false);
    }, PATIENCE);
  }

  /** Look at the folder when the user has left the text field, or pressed Enter in it. */
  wait() {
    this.typing?.abort();
    const typing = (this.typing = new AbortController());
    const go = ({ type }) => {
      typing.abort();
      if (type === "change") this.look(this.anyway ?? false);
      else this.schedule(false);
    };
    for (const event of ["change", "focusout"]) document.addEventListener(event, go, { signal: typing.signal });
  }

  /**
   * Ask the server for the pictures.
   * @param {boolean} anyway even when folder and settings are the same
   */
  async look(anyway) {
    clearTimeout(this.timer);
    this.typing?.abort();
    this.anyway = false;
    const source = sourceOf(this.node);
    if (!source) return;
    const same = JSON.stringify(source) === JSON.stringify(this.source);
    this.source = source;
    if (same && !anyway) return this.draw();
    const turn = ++this.asked;
    clearTimeout(this.resting);
    if (source.folder === null) return this.take(null, text("dataset.run"));
    if (this.run) remember(source.folder); // whoever has its masks made uses it
    if (!isKnown(source.folder)) return this.take(null, "", { unasked: source.folder });
    this.looking++;
    const began = performance.now();
    try {
      const found = await list(source);
      if (turn !== this.asked) return;
      remember(source.folder);
      this.take(found, "");
      if (!found.complete) this.goOn(REST * (performance.now() - began));
    } catch (error) {
      if (turn === this.asked) this.take(null, say(error.message), { english: error.message });
    } finally {
      this.looking--;
      this.lastLook = performance.now();
    }
  }

  /**
   * Look further after a while, when somebody sees it: the server may be at work on something else.
   * @param {number} rest ms
   */
  goOn(rest) {
    this.resting = setTimeout(() => {
      const go = () => this.schedule(true);
      if (document.hidden) document.addEventListener("visibilitychange", go, { once: true });
      else go();
    }, rest);
  }

  /**
   * @param {import("./source.mjs").Listing | null} found
   * @param {string} error
   * @param {{unasked?: string, english?: string}} [more] `unasked`: folder that the user has to allow first;
   *   `english`: the error as the log has it
   */
  take(found, error, { unasked = "", english = "" } = {}) {
    this.grid.drop(this.lacking);
    this.lacking.clear();
    const { folder, pictures, left_out: leftOut = [] } = found ?? { folder: "", pictures: [] };
    this.folder = folder;
    this.pictures = pictures.map((picture) => this.withFault(picture));
    this.leftOut = leftOut;
    this.error = error;
    this.empty.title = english;
    this.unasked = unasked;
    this.draw();
  }

  /** The user wants to see the folder that the workflow names. */
  allowed() {
    remember(this.unasked);
    this.refresh.focus(); // the button goes
    panels.forEach((panel) => panel.schedule(true));
  }

  /** @param {Picture} picture */
  withFault(picture) {
    const reason = this.broken.get(`${picture.name}:${picture.stamp}`);
    return reason ? { ...picture, status: "failed", reason } : picture;
  }

  /**
   * A picture could not be shown: say so if the file is at fault, or try again after the next look at the folder.
   * @param {Picture} picture
   * @param {string} key of its tile
   * @param {string} url
   */
  async fault(picture, key, url) {
    this.lacking.add(key);
    const reason = await whyBroken(url);
    if (!reason) return;
    this.broken.set(`${picture.name}:${picture.stamp}`, reason);
    this.pictures = this.pictures.map((other) => this.withFault(other));
    this.draw();
  }

  draw() {
    const { filter, regions } = this.view;
    const passing = this.pictures.filter((picture) => passes(picture, filter, this.captions));
    const shown = filter === "problems" ? gravestFirst(passing) : passing;
    this.summary.textContent = this.pictures.length ? summary(this.pictures, this.captions) : "";
    this.filter.replaceChildren(...FILTERS.map((name) => this.choice(name)));
    this.filter.value = filter;
    this.regions.setAttribute("aria-pressed", String(regions));
    this.drawGenerate();
    this.drawProgress();
    this.drawMessage();
    this.place.textContent = this.unasked;
    this.ask.classList.toggle("sf-hidden", !this.unasked);
    const nothing = this.error || (shown.length ? "" : text(this.source ? "dataset.noneSuch" : "dataset.looking"));
    this.empty.textContent = nothing;
    this.empty.classList.toggle("sf-hidden", !nothing || Boolean(this.unasked));
    this.grid.root.classList.toggle("sf-hidden", Boolean(nothing));
    this.field.draw(Boolean(this.unasked || this.error));
    this.shown = shown;
    this.grid.show(shown);
  }

  /** @param {string} filter */
  choice(filter) {
    const count = this.pictures.filter((picture) => passes(picture, filter, this.captions)).length;
    const name = ["all", "problems"].includes(filter) ? text(`dataset.${filter}`) : statusName(filter);
    return element("option", { value: filter, textContent: `${name} (${count})` });
  }

  drawGenerate() {
    const due = this.pictures.filter(({ status }) => status === "missing" || status === "stale").length;
    const forced = this.node.comfyClass === CACHER && widgetOf(this.node, "force")?.value;
    const { lack = "" } = this.source ?? {};
    const { length } = this.pictures;
    const count = forced ? length : due;
    const unknown = this.pictures.some(({ status }) => status === "unchecked");
    this.generate.disabled = Boolean(lack) || !count;
    if (lack) this.generate.textContent = text(`dataset.${lack}`);
    else if (count || !length) this.generate.textContent = text("dataset.generate", { count });
    else this.generate.textContent = text(unknown ? "dataset.looking" : "dataset.upToDate");
    this.generate.title = text(lack ? `dataset.${lack}Hint` : "dataset.generateHint");
    this.generate.classList.toggle("sf-hidden", Boolean(this.run));
  }

  drawProgress() {
    const { run } = this;
    this.progress.classList.toggle("sf-hidden", !run);
    if (!run) return;
    const made = this.pictures.filter(({ status }) => status === "ok" || status === "by hand").length;
    const [value, all] = run.total ? [run.done, run.total] : [made, this.pictures.length];
    if (run.state === "queued") this.bar.removeAttribute("value");
    else this.bar.value = all ? value / all : 0;
    this.count.textContent = text(`dataset.${run.state}`, { done: value, total: all });
    this.cancel.disabled = !run.prompt;
  }

  drawMessage() {
    const result = resultFor(this.node, this.folder);
    const told = result && "remarks" in result ? (result.remarks ?? []) : [];
    const remarks = this.remarked === this.folder ? this.remarks : [];
    const missed = folderInWords([...told, ...remarks], this.leftOut);
    if (this.missed.textContent !== missed) this.missed.textContent = missed; // what a user has selected stays so
    this.missed.classList.toggle("sf-hidden", !missed);
    const parts = messageOf(result);
    this.message.replaceChildren(...parts);
    this.message.classList.toggle("sf-hidden", !parts.length);
  }

  /** @param {Picture} picture */
  keyOf(picture) {
    const { name, stamp, mask_stamp, status, reason } = picture;
    const problems = problemsOf(picture, this.captions);
    const said = [reason, problems, notesOf(picture, this.captions)];
    return JSON.stringify([this.folder, name, stamp, mask_stamp, status, ...said, this.view.regions]);
  }

  /** @param {Picture} picture */
  tile(picture) {
    const problems = problemsOf(picture, this.captions);
    const title = describe(picture, this.captions);
    const key = this.keyOf(picture);
    const broken = (url) => this.fault(picture, key, url);
    const lost = () => this.lacking.add(key);
    const stack = layers(this.folder, picture, { side: 192, regions: this.view.regions, alt: "", broken, lost });
    stack.append(badge(picture.status));
    if (problems.length) {
      stack.append(element("span", { className: "sf-dataset-flag", textContent: "⚑", aria: { hidden: "true" } }));
    }
    const name = element("span", { className: "sf-dataset-name", textContent: picture.name });
    const tile = element("div", { className: "sf-dataset-tile", title }, [stack, name]);
    tile.setAttribute("aria-label", title.replaceAll("\n", "; "));
    return tile;
  }

  /** @param {number} index among the shown pictures */
  async open(index) {
    const again = () => this.look(true).then(() => this.pictures);
    const last = await view(this.folder, this.shown ?? [], index, this.captions, again);
    this.grid.choose(this.shown?.findIndex(({ name }) => name === last) ?? 0);
    this.grid.root.focus();
  }

  /** A run is further. */
  progressed() {
    this.drawGenerate();
    this.drawProgress();
    const due = performance.now() - this.lastLook > BETWEEN_LOOKS;
    if (this.run?.state === "running" && !this.looking && due) this.look(true);
  }
}
