// What the weights panel looks like, and what its controls do.
import { app } from "../../../scripts/app.js";
import { button, entitle } from "../lib/controls.mjs";
import { beforeNextFrame } from "../lib/frame.mjs";
import { overlaysFor } from "../lib/graph_walk.mjs";
import { PRESETS } from "../lib/palette.mjs";
import { addPanel, element, undoable, widgetOf } from "../lib/panel.mjs";
import { preference, SLIDER_STEP } from "../lib/preferences.mjs";
import { previewsOf } from "../lib/previews.mjs";
import { lookForEnds, runNodes, whenOver } from "../lib/prompts.mjs";
import { regionName, text } from "../lib/text.mjs";
import { mendPreviews } from "../mend/previews.mjs";
import { WeightMap } from "./map.mjs";
import { AddForm, Scale, Terms } from "./parts.mjs";
import { WeightRows } from "./list.mjs";
import { written } from "./rows.mjs";
import { CUSTOM, ENABLED, INPUTS, OWN, parseWeights, PRESET } from "./values.mjs";

/** @typedef {import("./values.mjs").WeightValues} WeightValues */

// in graph units: everything but the rows, and the rows
const FRAME_HEIGHT = 236;
const ROW_HEIGHT = 25;
const TERMS_HEIGHT = 101;
const LINE_HEIGHT = 31;
const OVERRULED_HEIGHT = 53; // three lines

// kept in the workflow
const SOCKETS = "semantic_focus_sockets";
const TERMS_OPEN = "semantic_focus_terms";

/** LiteGraph puts a gap of 4 below each widget. */
const NOTHING = () => [0, -4];

/** @returns {boolean} */
const inVue = () => Boolean(/** @type {any} */ (window).LiteGraph.vueNodesMode);

/** @param {string} prompt @returns {Promise<void>} fulfilled when it is over, in whatever way */
async function ended(prompt) {
  const end = new Promise((over) => whenOver(prompt, () => over(undefined)));
  lookForEnds(); // it may have ended since
  await end;
}

export class WeightsPanel {
  /**
   * @param {any} node
   * @param {WeightValues} values
   */
  constructor(node, values) {
    this.node = node;
    this.values = values;
    /** Bring everything up to date before the next frame, once. */
    this.request = beforeNextFrame(() => this.sync());
    /** previews of the segmentation that were asked for and are not over */
    this.runs = 0;
    /** what was last said of an entry that was refused */
    this.refused = "";
    this.hovered = "";
    this.map = new WeightMap(
      () => values.effective(),
      (place) => this.hover(place),
    );
    this.enabled = button(() => this.edit(() => values.toggle()), { className: "sf-button sf-switch", role: "switch" });
    this.preset = element("select", { className: "sf-field" });
    this.preset.addEventListener("change", () => this.edit(() => values.set(PRESET, this.preset.value)));
    this.resetAll = button(() => this.edit(() => values.reset()), { textContent: "↺" });
    this.rows = new WeightRows(node, values, {
      edit: (change) => this.edit(change),
      moved: () => {
        this.refused = "";
        this.request();
      },
      refuse: (why) => this.refuse(why),
    });
    this.offers = element("div", { className: "sf-wrap" });
    this.form = new AddForm({
      add: (name, weight) => this.edit(() => values.setOwn(name, weight)),
      taken: (name) => values.isTaken(name),
      refuse: (why) => this.refuse(why),
      closed: () => this.request(),
    });
    this.terms = new Terms(values, {
      edit: (change) => this.edit(change),
      refuse: (why) => this.refuse(why),
      opened: (open) => this.keep(TERMS_OPEN, open),
      sockets: (shown) => this.keep(SOCKETS, shown),
    });
    this.run = button(() => this.previewSegmentation());
    this.add = button(() => {
      this.form.toggle();
      this.sync();
    });
    this.hint = element("div", { className: "sf-hint sf-quiet" });
    this.map.root.append(this.hint);
    this.scale = new Scale(
      (step) => this.turn(step),
      () => this.mendMasks(),
    );
    this.said = element("div", { className: "sf-said sf-status sf-quiet" });
    this.said.setAttribute("role", "status");
    this.overruled = element("div", { className: "sf-overruled sf-hidden", role: "status" });
    this.root = this.arrange();
    this.widget = addPanel(node, "semantic_focus_weights", this.root, this.minHeight);
    this.widget.options.getMinHeight = () => this.minHeight;
    this.speak();
  }

  arrange() {
    const root = element("div", { className: "sf-weights" }, [
      element("div", { className: "sf-row" }, [this.enabled, this.preset, this.resetAll]),
      this.rows.root,
      this.offers,
      this.form.root,
      this.terms.root,
      element("div", { className: "sf-row" }, [this.run, this.add]),
      this.map.root,
      this.scale.root,
      this.overruled,
      this.said,
    ]);
    root.addEventListener("keydown", (event) => this.onKey(event));
    root.addEventListener("pointerenter", () => this.findPreviews());
    return root;
  }

  /** What the panel needs, from what is in it: never from what it measures. */
  get minHeight() {
    const lines = [this.form.open, this.offered().length > 0].filter(Boolean).length;
    const terms = this.node.properties[TERMS_OPEN] ? TERMS_HEIGHT : 0;
    const overruled = this.overruled.textContent ? OVERRULED_HEIGHT : 0;
    return FRAME_HEIGHT + this.rows.names.length * ROW_HEIGHT + lines * LINE_HEIGHT + terms + overruled;
  }

  /** Own categories of the shown segmentation that have no weight yet. */
  offered() {
    const known = this.values.effective().weights;
    return (this.preview?.regions ?? []).map(({ name }) => name).filter((name) => !(name in known));
  }

  get preview() {
    return this.map.previews[this.map.number];
  }

  /** Make a change that is one step of Undo. @param {() => void} change */
  edit(change) {
    this.refused = "";
    undoable(change);
    this.sync();
  }

  /** @param {string} property @param {any} value */
  keep(property, value) {
    const { node } = this;
    if ((node.properties[property] ?? false) === value) return;
    const [needed, height] = [node.computeSize()[1], node.size[1]];
    this.edit(() => {
      node.properties[property] = value;
      this.sync();
      // as much higher, or lower again, as what was unfolded
      const now = node.computeSize()[1];
      if (!inVue()) node.setSize([node.size[0], Math.max(now, height + now - needed)]);
    });
  }

  /** @param {string} why */
  refuse(why) {
    this.refused = why;
    this.say();
  }

  /** All words that do not change with the values. */
  speak() {
    this.enabled.textContent = text("weights.enabled");
    entitle(this.resetAll, text("weights.resetAll"));
    this.preset.setAttribute("aria-label", text("weights.preset"));
    const options = [CUSTOM, ...Object.keys(PRESETS)];
    this.preset.replaceChildren(
      ...options.map((value) => element("option", { value, textContent: text(`weights.presets.${value}`) })),
    );
    this.run.textContent = `▶ ${text("weights.run")}`;
    this.run.title = text("weights.runTitle");
    this.add.textContent = `+ ${text("weights.add")}`;
    this.add.title = text("weights.addTitle");
    this.form.speak();
    this.terms.speak();
    this.scale.speak();
    this.sync();
  }

  /** Show what the inputs have. */
  sync() {
    const { values } = this;
    const effective = values.effective();
    this.enabled.setAttribute("aria-checked", String(Boolean(effective.enabled)));
    this.enabled.disabled = values.linked(ENABLED) || (values.isWhole && values.linked(PRESET));
    this.preset.value = values.get(PRESET) ?? CUSTOM;
    this.preset.disabled = values.linked(PRESET);
    this.preset.title = values.linked(PRESET) ? text("weights.fromLink") : text("weights.presetTitle");
    this.rows.show(effective, this.preview?.regions ?? null);
    this.syncOffers();
    this.form.show(preference(SLIDER_STEP), !values.linked(OWN));
    this.add.disabled = values.linked(OWN);
    this.add.setAttribute("aria-expanded", String(this.form.open));
    this.terms.show(this.node.properties[TERMS_OPEN] ?? false, this.node.properties[SOCKETS] ?? false);
    this.showNative();
    this.say();
    this.makeRoom();
    this.map.paint();
    const described = this.preview?.regions.map(
      ({ name }) => `${regionName(name)} ${written(effective.weights[name] ?? 0)}`,
    );
    this.map.above.setAttribute("aria-label", text("weights.map", { weights: described?.join(", ") ?? "" }));
  }

  syncOffers() {
    const offered = this.offered();
    this.offers.classList.toggle("sf-hidden", !offered.length);
    if (this.offers.dataset.names === offered.join()) return;
    this.offers.dataset.names = offered.join();
    this.offers.replaceChildren(
      ...offered.map((name) => {
        const words = { textContent: `+ ${name}`, title: text("weights.offer", { name }) };
        return button(() => this.edit(() => this.values.setOwn(name, 1)), words);
      }),
    );
  }

  /** Native widgets are shown where a link comes in, and all when the user wants to connect one. */
  showNative() {
    let changed = false;
    for (const input of INPUTS) {
      const widget = widgetOf(this.node, input);
      const hidden = !this.node.properties[SOCKETS] && !this.values.linked(input);
      if (widget.options.hidden === hidden) continue;
      changed = true;
      widget.hidden = hidden;
      widget.options.hidden = hidden;
      // the canvas of 1.32 keeps the place of hidden widgets
      if (hidden) widget.computeSize = NOTHING;
      else delete widget.computeSize;
    }
    if (!changed) return;
    this.growIfNeeded();
    this.node.setDirtyCanvas(true, true);
  }

  /** The Vue renderer reads the height from CSS; the canvas of 1.32 lets a panel stick out of its node. */
  makeRoom() {
    const height = `${this.minHeight}px`;
    if (this.root.style.minHeight === height) return;
    this.root.style.minHeight = height;
    this.growIfNeeded();
  }

  growIfNeeded() {
    if (inVue()) return;
    const [, needed] = this.node.computeSize();
    if (this.node.size[1] < needed) this.node.setSize([this.node.size[0], needed]);
  }

  /** Look where the segmentation comes from, and whether it has run. */
  async findPreviews() {
    const found = overlaysFor(this.node)
      .map(({ node }) => previewsOf(node))
      .find(({ length }) => length);
    await this.paging(() => this.map.take(found ?? []));
  }

  /** @param {number} step */
  async turn(step) {
    await this.paging(() => this.map.turn(this.map.number + step));
  }

  /** @param {() => Promise<void>} change */
  async paging(change) {
    const before = this.map.page;
    try {
      await change();
    } catch (error) {
      this.refused = text("overlay.unreadable", { reason: error.message });
    }
    const count = this.map.previews.length;
    this.hint.classList.toggle("sf-hidden", count > 0);
    this.scale.show(this.map.number, count, this.preview);
    if (before !== this.map.page || this.refused) this.sync();
  }

  /** Correct the masks of the picture by hand. */
  async mendMasks() {
    const { page, wrote } = await mendPreviews(this.map.previews, this.map.number);
    if (page !== this.map.number) await this.turn(page - this.map.number);
    if (wrote) this.refuse(text("mend.notRun"));
  }

  async previewSegmentation() {
    const [overlay] = overlaysFor(this.node);
    if (!overlay) {
      this.refuse(text("weights.noSegmentation"));
      return;
    }
    this.refused = "";
    this.runs++;
    this.say();
    try {
      const prompt = await runNodes([overlay.id]);
      if (prompt) await ended(prompt);
    } finally {
      this.runs--;
      this.say();
    }
  }

  /** @param {{region: string | null, weight: number} | null} place */
  hover(place) {
    const name = place && regionName(place.region ?? "residual");
    this.hovered = place ? text("weights.here", { name: name ?? "", weight: written(place.weight) }) : "";
    this.say();
  }

  say() {
    const { enabled, prior } = this.values.effective();
    const { wrong } = parseWeights(this.values.get(OWN) ?? "");
    const free = text(prior > 0 ? "weights.held" : "weights.notHeld");
    const standing = enabled ? free : text("weights.alike");
    const overruled = this.values.overruled().map(([name, weight]) => `${regionName(name)} ${written(weight)}`);
    const preset = text(`weights.presets.${this.values.get(PRESET)}`);
    const weights = overruled.join(text("notices.listComma"));
    const other = overruled.length ? text("weights.overruled", { preset, weights }) : "";
    if (this.overruled.textContent !== other) this.overruled.textContent = this.overruled.title = other;
    this.overruled.classList.toggle("sf-hidden", !other);
    const unread = wrong === null ? "" : text("weights.wrongLine", { line: wrong });
    const running = this.runs ? text("weights.running") : "";
    this.hint.textContent = running || text("weights.notRun");
    this.said.textContent = this.refused || this.hovered || unread || running || standing;
    this.said.title = this.said.textContent;
    this.said.classList.toggle("sf-wrong", Boolean(this.refused || unread));
  }

  /**
   * The editor leaves Ctrl+Z to inputs; here it takes back what the panel did, except words that do not count yet.
   * @param {KeyboardEvent} event
   */
  onKey(event) {
    if (!(event.ctrlKey || event.metaKey) || !(event.target instanceof HTMLInputElement)) return;
    const key = event.key.toLowerCase();
    if (!["z", "y"].includes(key) || this.typing(event.target)) return;
    event.preventDefault();
    event.stopPropagation();
    app.extensionManager.command.execute(key === "y" || event.shiftKey ? "Comfy.Redo" : "Comfy.Undo");
  }

  /** @param {HTMLInputElement} input */
  typing(input) {
    if (input.type === "range") return false;
    const fields = [...this.rows.fields, ...this.terms.fields];
    return fields.find(({ root }) => root === input)?.pending ?? true;
  }
}
