// The dataset browser: the pictures of a node's folder with the status of their masks, and a button that makes them.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { Grid } from "./grid.mjs";
import { MaskRun } from "./run.mjs";
import { CACHER, list, LOADER, sourceOf, whyBroken } from "./source.mjs";
import { badge, layers, view } from "./view.mjs";
import { describe, FILTERS, passes, problemsOf, say, statusName, summary } from "./words.mjs";
import { openDialog } from "../lib/dialog.mjs";
import { element, undoable, widgetOf } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";

/**
 * @typedef {import("./source.mjs").Picture} Picture
 * @typedef {import("./source.mjs").Source} Source
 * @typedef {{filename: string, subfolder: string, type: string, path: string}} Report
 */

const PROPERTY = "semantic_focus_dataset";
const PATIENCE = 300; // ms without a change, before the server is asked
const BETWEEN_LOOKS = 2000; // ms, while masks are being made

export class DatasetPanel {
  /** @param {any} node */
  constructor(node) {
    this.node = node;
    /** @type {Source | null} */
    this.source = null;
    this.folder = "";
    /** @type {Picture[]} */
    this.pictures = [];
    /** @type {Map<string, string>} what is wrong with pictures that could not be shown, by name and stamp */
    this.broken = new Map();
    this.asked = 0;
    this.error = "";
    this.result = "";
    /** @type {Report | null} */
    this.report = null;
    this.run = new MaskRun(node, {
      progressed: (progress) => this.progressed(progress),
      told: (output) => {
        // what a node says itself, it is told itself
        if (node.comfyClass !== CACHER) this.tellResult(output?.text?.[0] ?? "", undefined);
      },
      ended: (error) => this.ended(error),
    });
    /** @type {Grid<Picture>} */
    this.grid = new Grid("", {
      key: (picture) => this.keyOf(picture),
      draw: (picture) => this.tile(picture),
      open: (index) => this.open(index),
    });
    this.build();
    this.changed = () => this.schedule(false);
    this.relabel();
    this.draw();
  }

  build() {
    this.summary = element("div", { className: "sf-dataset-summary", role: "status" });
    this.refresh = element("button", { type: "button", className: "sf-button", textContent: "⟳" });
    this.refresh.addEventListener("click", () => this.look(true));
    this.filter = element("select", { className: "sf-field sf-dataset-filter" });
    this.filter.addEventListener("change", () => this.keep({ filter: this.filter.value }));
    this.regions = element("button", { type: "button", className: "sf-button", textContent: "◪" });
    this.regions.addEventListener("click", () => this.keep({ regions: !this.view.regions }));
    this.generate = element("button", { type: "button", className: "sf-button sf-dataset-generate" });
    this.generate.addEventListener("click", () => this.start());
    this.bar = element("progress", { max: 1 });
    this.count = element("span", { className: "sf-status", role: "status" });
    this.cancel = element("button", { type: "button", className: "sf-button" });
    this.cancel.addEventListener("click", () => this.run.cancel());
    this.progress = element("div", { className: "sf-row sf-dataset-progress" }, [this.bar, this.count, this.cancel]);
    this.message = element("div", { className: "sf-dataset-message" });
    this.empty = element("div", { className: "sf-dataset-empty", role: "status" });
    const head = element("div", { className: "sf-row" }, [this.summary, this.regions, this.refresh]);
    const tools = element("div", { className: "sf-row" }, [this.filter, this.generate, this.progress]);
    const body = element("div", { className: "sf-dataset-body" }, [this.grid.root, this.empty]);
    this.root = element("div", { className: "sf-dataset" }, [head, tools, body, this.message]);
  }

  /** Be told of changes of the graph and of runs; again has no effect. */
  listen() {
    this.run.open();
    api.addEventListener("graphChanged", this.changed);
  }

  /** The node is gone. */
  close() {
    this.run.close();
    api.removeEventListener("graphChanged", this.changed);
    clearTimeout(this.timer);
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

  /** Whether pictures without a caption file are an error when the node runs. */
  get captionNeeded() {
    return this.node.comfyClass === LOADER && !String(widgetOf(this.node, "default_caption")?.value ?? "").trim();
  }

  /** Words again: another language was chosen. */
  relabel() {
    for (const [control, key] of [
      [this.refresh, "dataset.refresh"],
      [this.regions, "dataset.showRegions"],
      [this.filter, "dataset.filter"],
    ]) {
      control.title = text(key);
      control.setAttribute("aria-label", control.title);
    }
    this.cancel.textContent = text("dataset.cancel");
    this.bar.setAttribute("aria-label", text("dataset.making"));
    this.grid.label(text("dataset.title"));
    this.repaint();
  }

  /** Tiles again: words or colours are others. */
  repaint() {
    for (const tile of this.grid.tiles.values()) tile.remove();
    this.grid.tiles.clear();
    this.draw();
  }

  /**
   * Look at the folder soon, when nobody is typing any more.
   * @param {boolean} anyway even when folder and settings are the same
   */
  schedule(anyway) {
    this.anyway ||= anyway;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (isTyping()) this.wait();
      else this.look(this.anyway ?? false);
    }, PATIENCE);
  }

  /** Look at the folder when the user has left the text field, or pressed Enter in it. */
  wait() {
    const heard = new AbortController();
    const go = ({ type }) => {
      heard.abort();
      if (type === "change") this.look(this.anyway ?? false);
      else this.schedule(false);
    };
    for (const event of ["change", "focusout"]) document.addEventListener(event, go, { signal: heard.signal });
  }

  /**
   * Ask the server for the pictures.
   * @param {boolean} anyway even when folder and settings are the same
   */
  async look(anyway) {
    if (!this.node.graph || app.configuringGraph) return;
    this.anyway = false;
    const turn = ++this.asked;
    const current = () => turn === this.asked;
    try {
      const source = await sourceOf(this.node);
      this.run.watch(source.maker);
      if (!current()) return;
      const same = JSON.stringify(source) === JSON.stringify(this.source);
      this.source = source;
      if (same && !anyway) return this.draw();
      if (source.folder === null) return this.take("", [], text("dataset.run"));
      const found = await list(source);
      if (!current()) return;
      this.take(found.folder, found.pictures, "");
      if (!found.complete) this.schedule(true);
    } catch (error) {
      if (current()) this.take("", [], say(error.message));
    }
  }

  /**
   * @param {string} folder
   * @param {Picture[]} pictures
   * @param {string} error
   */
  take(folder, pictures, error) {
    this.folder = folder;
    this.pictures = pictures.map((picture) => this.withFault(picture));
    this.error = error;
    this.draw();
  }

  /** @param {Picture} picture */
  withFault(picture) {
    const reason = this.broken.get(`${picture.name}:${picture.stamp}`);
    return reason ? { ...picture, status: "failed", reason } : picture;
  }

  /**
   * A picture could not be shown: say so if the file is at fault.
   * @param {Picture} picture
   * @param {string} url
   */
  async fault(picture, url) {
    const reason = await whyBroken(url);
    if (!reason) return;
    this.broken.set(`${picture.name}:${picture.stamp}`, reason);
    this.pictures = this.pictures.map((other) => this.withFault(other));
    this.draw();
  }

  /**
   * @param {string} summary
   * @param {Report | undefined} report
   */
  tellResult(summary, report) {
    this.result = summary;
    this.report = report ?? null;
    this.draw();
  }

  draw() {
    const { filter, regions } = this.view;
    const shown = this.pictures.filter((picture) => passes(picture, filter, this.captionNeeded));
    this.summary.textContent = this.pictures.length ? summary(this.pictures, this.captionNeeded) : "";
    this.filter.replaceChildren(...FILTERS.map((name) => this.choice(name)));
    this.filter.value = filter;
    this.regions.setAttribute("aria-pressed", String(regions));
    this.drawGenerate();
    this.drawMessage();
    const nothing = this.error || (shown.length ? "" : text(this.source ? "dataset.noneSuch" : "dataset.looking"));
    this.empty.textContent = nothing;
    this.empty.classList.toggle("sf-hidden", !nothing);
    this.grid.root.classList.toggle("sf-hidden", Boolean(nothing));
    this.shown = shown;
    this.grid.show(shown);
  }

  /** @param {string} filter */
  choice(filter) {
    const count = this.pictures.filter((picture) => passes(picture, filter, this.captionNeeded)).length;
    const name = ["all", "problems"].includes(filter) ? text(`dataset.${filter}`) : statusName(filter);
    return element("option", { value: filter, textContent: `${name} (${count})` });
  }

  drawGenerate() {
    const due = this.pictures.filter(({ status }) => status === "missing" || status === "stale").length;
    const forced = this.node.comfyClass === CACHER && widgetOf(this.node, "force")?.value;
    const busy = this.run.progress.state !== "idle";
    const without = Boolean(this.source && !this.source.maker);
    this.generate.disabled = without || !this.pictures.length || (!due && !forced);
    if (without) this.generate.textContent = text("dataset.connect");
    else if (!due && !forced) this.generate.textContent = text("dataset.upToDate");
    else this.generate.textContent = text("dataset.generate", { count: forced ? this.pictures.length : due });
    this.generate.title = text(without ? "dataset.connectHint" : "dataset.generateHint");
    this.generate.classList.toggle("sf-hidden", busy);
    this.progress.classList.toggle("sf-hidden", !busy);
  }

  drawMessage() {
    const parts = [];
    const result = { className: "sf-status", textContent: this.result, title: this.result };
    if (this.result) parts.push(element("span", result));
    if (this.report) {
      const open = element("button", { type: "button", className: "sf-button", textContent: text("dataset.report") });
      open.title = this.report.path;
      open.addEventListener("click", () => this.openReport());
      parts.push(open);
    }
    this.message.replaceChildren(...parts);
    this.message.classList.toggle("sf-hidden", !parts.length);
  }

  /** @param {Picture} picture */
  keyOf(picture) {
    const { name, stamp, mask_stamp, status, reason } = picture;
    const problems = problemsOf(picture, this.captionNeeded);
    return JSON.stringify([this.folder, name, stamp, mask_stamp, status, reason, problems, this.view.regions]);
  }

  /** @param {Picture} picture */
  tile(picture) {
    const problems = problemsOf(picture, this.captionNeeded);
    const title = describe(picture, this.captionNeeded);
    const broken = (url) => this.fault(picture, url);
    const stack = layers(this.folder, picture, { side: 192, regions: this.view.regions, alt: "", broken });
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
    this.grid.choose(await view(this.folder, this.shown ?? [], index, this.captionNeeded));
    this.grid.root.focus();
  }

  async openReport() {
    const { filename, subfolder, type, path } = /** @type {Report} */ (this.report);
    const answer = await api.fetchApi(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
    if (!answer.ok) {
      this.tellResult(text("dataset.noReport", { file: path }), undefined);
      return;
    }
    // ComfyUI gives pages out for download only; without scripts it may as well be looked at here
    const page = element("iframe", { title: text("dataset.report"), srcdoc: await answer.text() });
    page.setAttribute("sandbox", "");
    const file = element("code", { className: "sf-status", textContent: path, title: path });
    const copy = element("button", { type: "button", className: "sf-button", textContent: text("dataset.copy") });
    copy.addEventListener("click", () => copyText(path, file));
    const bar = element("div", { className: "sf-row" }, [file, copy]);
    await openDialog(text("dataset.report"), element("div", { className: "sf-dataset-report" }, [bar, page]));
  }

  async start() {
    this.tellResult("", undefined);
    try {
      await this.run.start();
    } catch (error) {
      this.tellResult(say(error.message), undefined);
    }
  }

  /** @param {import("./run.mjs").Progress} progress */
  progressed({ state, done, total }) {
    this.drawGenerate();
    if (state === "idle") {
      this.schedule(true);
      return;
    }
    const made = this.pictures.filter(({ status }) => status === "ok" || status === "by hand").length;
    const [value, all] = total ? [done, total] : [made, this.pictures.length];
    if (state === "queued") this.bar.removeAttribute("value");
    else this.bar.value = all ? value / all : 0;
    this.count.textContent = text(`dataset.${state}`, { done: value, total: all });
    this.cancel.disabled = !this.run.prompt;
    const now = performance.now();
    if (state === "running" && now - (this.lastLook ?? 0) > BETWEEN_LOOKS) {
      this.lastLook = now;
      this.look(true);
    }
  }

  /** @param {string} error */
  ended(error) {
    if (error) this.tellResult(say(error), undefined);
    this.schedule(true);
  }
}

/** Whether the user is at a text field of a node; a folder that is half written is no folder. */
function isTyping() {
  const at = document.activeElement;
  const field = at?.matches("textarea, input:not([type=range], [type=checkbox])");
  return Boolean(field && at?.closest("[data-node-id], .dom-widget, .graphdialog"));
}

/**
 * @param {string} words
 * @param {HTMLElement} shown to be selected where the browser does not let a page copy
 */
async function copyText(words, shown) {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    getSelection()?.selectAllChildren(shown);
  }
}
