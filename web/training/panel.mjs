// What a training does: live curves per region, pace, samples and notes, wherever it runs.
import { TrainingCurves } from "./curves.mjs";
import { Samples } from "./strip.mjs";
import { notesOf, progressOf, rowsOf, stateOf } from "./words.mjs";
import { button, entitle, swatch, table } from "../lib/controls.mjs";
import { openDialog } from "../lib/dialog.mjs";
import { figure, percent } from "../lib/figures.mjs";
import { beforeNextFrame } from "../lib/frame.mjs";
import { colourOf, css, onPalette } from "../lib/palette.mjs";
import { addStylesheet, element, undoable } from "../lib/panel.mjs";
import { onPreference } from "../lib/preferences.mjs";
import { presentPanels } from "../lib/present.mjs";
import { onLanguage, regionName, text } from "../lib/text.mjs";

/** @typedef {import("./runs.mjs").Run} Run */

/**
 * Where the training comes from that a panel shows. `controls` stand beside its state, `below` under it, `tools` beside
 * those of the panel; `nothing` is the state in words while there is no training, `notes` what there is to say of the
 * source itself; `draw` brings its own elements up to date, `speak` says them in the user's language. `attach` and
 * `detach`: the node comes and goes.
 * @typedef {{controls: HTMLElement[], below: HTMLElement[], tools?: HTMLElement[], run: () => Run | undefined,
 *   nothing: () => string, notes: () => string[], draw: (run: Run | undefined) => void, speak: () => void,
 *   attach?: (panel: HTMLElement) => void, detach?: () => void}} Source
 */

const PROPERTY = "semantic_focus_training";
const THEME = "Comfy.ColorPalette";
const DEFAULT_VIEW = { log: false, smoothing: 0.9, hidden: /** @type {string[]} */ ([]), regions: false, heldOut: false };
const SMOOTHEST = 0.99;

addStylesheet(new URL("training.css", import.meta.url).href);

/** @type {Map<any, TrainingPanel>} by node */
export const panels = presentPanels();

onPalette(() => panels.forEach((panel) => panel.restyle()));
onPreference([THEME], () => setTimeout(() => panels.forEach((panel) => panel.restyle()), 50));
onLanguage(() => panels.forEach((panel) => panel.speak()));

export class TrainingPanel {
  /**
   * @param {any} node
   * @param {(changed: () => void) => Source} sourceFor given what is to be called when there is something new
   */
  constructor(node, sourceFor) {
    this.node = node;
    /** @type {Run | undefined} */
    this.run = undefined;
    /** Show with the next frame what there is to show. */
    this.request = beforeNextFrame(() => this.show());
    this.source = sourceFor(this.request);
    /** @type {Set<() => void>} redraw what is shown large */
    this.large = new Set();
    this.curves = this.newCurves();
    this.samples = new Samples();
    this.makeHeader();
    this.makeTools();
    this.table = element("div", { className: "sf-training-table", tabIndex: 0, role: "region" });
    this.notes = element("div", { className: "sf-training-notes", tabIndex: 0, role: "log" });
    this.root = element("div", { className: "sf-training" }, [
      this.header,
      this.bar,
      ...this.source.below,
      this.samples.strip,
      this.tools,
      this.curves.root,
      this.table,
      this.notes,
    ]);
    this.speak();
  }

  makeHeader() {
    this.state = element("strong", { className: "sf-status", role: "status" });
    this.progress = element("span", { className: "sf-training-progress sf-quiet" });
    const first = element("div", { className: "sf-row" }, [this.state, ...this.source.controls]);
    const said = element("div", { className: "sf-training-said" }, [first, this.progress]);
    this.header = element("div", { className: "sf-row" }, [this.samples.latest, said]);
    this.bar = element("div", { className: "sf-training-bar", aria: { hidden: "true" } }, [element("div")]);
  }

  makeTools() {
    this.asCurves = button(() => this.look({ regions: false, heldOut: false }));
    this.asHeldOut = button(() => this.look({ regions: false, heldOut: true }));
    this.asTable = button(() => this.look({ regions: true }));
    this.log = button(() => this.look({ log: !this.view.log }));
    this.enlarge = button(() => this.showLarge(), { textContent: "⤢" });
    this.smoothing = element("input", { type: "range", min: 0, max: SMOOTHEST, step: 0.01 });
    this.smoothing.addEventListener("input", () => this.preview(Number(this.smoothing.value)));
    this.smoothing.addEventListener("change", () => {
      this.look({ smoothing: Number(this.smoothing.value) });
      this.smoothing.blur(); // the editor ignores Ctrl+Z while an input has the focus
    });
    const choice = element("div", { className: "sf-training-choice" }, [this.asCurves, this.asHeldOut, this.asTable]);
    // a slider that is back where it was does not say that it changed
    this.smoothing.addEventListener("blur", () => this.preview(undefined));
    const tools = [choice, this.log, this.smoothing, this.enlarge, ...(this.source.tools ?? [])];
    this.tools = element("div", { className: "sf-row" }, tools);
  }

  newCurves() {
    return new TrainingCurves(
      () => this.view,
      (name) => {
        const hidden = new Set(this.view.hidden);
        if (!hidden.delete(name)) hidden.add(name);
        this.look({ hidden: [...hidden] });
      },
    );
  }

  /** How it is looked at; kept in the workflow. */
  get view() {
    return { ...DEFAULT_VIEW, ...this.node.properties[PROPERTY], ...this.tried };
  }

  /** @param {Partial<typeof DEFAULT_VIEW>} change */
  look(change) {
    this.tried = undefined;
    undoable(() => (this.node.properties[PROPERTY] = { ...this.view, ...change }));
    this.restyle();
  }

  /** @param {number | undefined} smoothing while the slider is held */
  preview(smoothing) {
    this.tried = smoothing === undefined ? undefined : { smoothing };
    this.restyle();
  }

  /** Another view, palette or theme. */
  restyle() {
    const { log, smoothing, regions } = this.view;
    const { heldOut } = this;
    const press = (button, pressed) => button.setAttribute("aria-pressed", String(pressed));
    press(this.asCurves, !regions && !heldOut);
    press(this.asHeldOut, heldOut);
    press(this.asTable, regions);
    press(this.log, log);
    this.smoothing.value = String(smoothing);
    this.curves.root.classList.toggle("sf-hidden", regions);
    this.table.classList.toggle("sf-hidden", !regions);
    for (const tool of [this.log, this.enlarge]) tool.classList.toggle("sf-hidden", regions);
    this.smoothing.classList.toggle("sf-hidden", regions || heldOut);
    this.request();
  }

  /** Whether what is held out is looked at. */
  get heldOut() {
    return this.view.heldOut && !this.view.regions && Boolean(this.run?.points.validation);
  }

  /** Say everything in the user's language. */
  speak() {
    this.asCurves.textContent = text("training.curves");
    this.asHeldOut.textContent = text("training.heldOut");
    this.asHeldOut.title = text("training.heldOutHint");
    this.asTable.textContent = text("training.regions");
    this.log.textContent = text("training.log");
    this.log.title = text("training.logHint");
    entitle(this.smoothing, text("training.smoothing"));
    entitle(this.enlarge, text("training.large"));
    this.source.speak();
    this.table.setAttribute("aria-label", text("training.regions"));
    this.notes.setAttribute("aria-label", text("training.details"));
    this.restyle();
  }

  /** The node is in the workflow. */
  attach() {
    this.source.attach?.(this.root);
  }

  /** The node is gone. */
  detach() {
    this.source.detach?.();
  }

  show() {
    const before = this.heldOut;
    this.run = this.source.run();
    if (this.heldOut !== before) this.restyle();
    const { run } = this;
    this.asHeldOut.classList.toggle("sf-hidden", !run?.points.validation);
    const summary = run ? stateOf(run) : this.source.nothing();
    this.root.dataset.state = run?.state ?? "waiting";
    this.state.textContent = this.state.title = summary;
    this.progress.replaceChildren(...this.parts());
    this.bar.firstElementChild.style.width = run?.steps ? `${(100 * run.step) / run.steps}%` : "0";
    this.source.draw(run);
    this.samples.show(run);
    const { regions } = this.view;
    if (!regions) this.curves.show(run, summary);
    else this.fillTable();
    this.fillNotes();
    for (const redraw of this.large) redraw();
  }

  parts() {
    if (!this.run) return [];
    return progressOf(this.run).map((part) => element("span", { textContent: part }));
  }

  fillTable() {
    const { run } = this;
    const head = ["region", "loss", "gradient", "cover"].map((column) =>
      element("th", {
        scope: "col",
        textContent: text(`training.${column}`),
        title: column === "region" ? "" : text(`training.${column}Hint`),
      }),
    );
    const rows = (run ? rowsOf(run) : []).map(({ region, first, last, share, cover }) => {
      const colour = css(colourOf(region));
      const fill = element("span", { style: { width: `${100 * (share ?? 0)}%`, background: colour } });
      return element("tr", { dataset: { region } }, [
        element("th", { scope: "row" }, [swatch(region), regionName(region)]),
        element("td", { textContent: `${figure(first)} → ${figure(last)}` }),
        element("td", {}, [percent(share), element("span", { className: "sf-training-share" }, [fill])]),
        element("td", { textContent: percent(cover) }),
      ]);
    });
    this.table.replaceChildren(table(head, rows));
  }

  fillNotes() {
    const notes = [...this.source.notes(), ...(this.run ? notesOf(this.run) : [])];
    this.notes.classList.toggle("sf-hidden", !notes.length);
    if (notes.join("\n") === this.said) return; // what a user has selected stays so
    this.said = notes.join("\n");
    this.notes.replaceChildren(...notes.map((note) => element("p", { textContent: note })));
  }

  async showLarge() {
    const curves = this.newCurves();
    const content = element("div", { className: "sf-training-large" }, [curves.root]);
    const redraw = () => curves.show(this.run, this.state.textContent);
    this.large.add(redraw);
    const closed = openDialog(text(this.heldOut ? "training.heldOut" : "training.curves"), content);
    redraw();
    await closed;
    this.large.delete(redraw);
  }
}
