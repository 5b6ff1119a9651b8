// The mask overlay as elements: the picture with its regions, their legend, and the controls.
import { LegendView } from "./legend.mjs";
import { paint, personPlaces, readLayers } from "./paint.mjs";
import { button, entitle } from "../lib/controls.mjs";
import { doubtsInWords, rings } from "../lib/doubts.mjs";
import { faultInWords } from "../lib/faults.mjs";
import { hasPictures } from "../lib/graph_walk.mjs";
import { colourOf } from "../lib/palette.mjs";
import { element } from "../lib/panel.mjs";
import { regionName, regionNames, text } from "../lib/text.mjs";
import { mendPreviews, offerMending } from "../mend/previews.mjs";

/**
 * @typedef {import("./state.mjs").OverlayState} OverlayState
 * @typedef {import("./paint.mjs").Layers} Layers
 * @typedef {import("../lib/previews.mjs").Preview} Preview
 */

/** Width of a line on the screen, in CSS pixels. */
const LINE = 1.25;

/** What the library calls the backend of masks that a person or another program made. */
const BY_HAND = "by hand";

/** It is what the other regions leave, in masks made by hand that have none. */
const BACKGROUND = "background";

/** @type {Record<string, (page: number, count: number) => number>} */
const PAGE_KEYS = {
  ArrowLeft: (page) => page - 1,
  ArrowRight: (page) => page + 1,
  Home: () => 0,
  End: (_, count) => count - 1,
};

export class OverlayView {
  /**
   * @param {OverlayState} state
   * @param {{enlarge?: () => void, run?: () => void}} actions that this place offers
   */
  constructor(state, { enlarge, run } = {}) {
    this.state = state;
    /** in the editor, keys of one letter are its own */
    this.isLarge = !enlarge;
    /** @type {Layers | null} of `preview` */
    this.layers = null;
    /** @type {Preview | null} what is drawn */
    this.preview = null;
    /** @type {Preview | null} what is being read, or could not be */
    this.coming = null;
    /** why it could not */
    this.problem = "";
    /** which of how many is drawn */
    this.place = "";
    this.pointed = 0;
    this.legend = new LegendView(state, (index) => this.point(index));
    this.buildStage(enlarge);
    this.buildControls();
    this.notice = element("div", { className: "sf-overlay-notice sf-hidden", role: "status" });
    this.emptyText = element("p");
    this.runButton = button(() => run?.());
    this.empty = element("div", { className: "sf-overlay-empty" }, [this.emptyText, ...(run ? [this.runButton] : [])]);
    const parts = [this.notice, this.empty, this.stage, this.legend.root, this.info, this.controls];
    this.root = element("div", { className: "sf-overlay" }, parts);
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    this.stopListening = state.onChange(() => this.update());
    this.resizes = new ResizeObserver(() => this.layers && this.thickness() !== this.drawnThickness && this.draw());
    this.resizes.observe(this.canvas);
    this.update();
  }

  /** @param {(() => void) | undefined} enlarge */
  buildStage(enlarge) {
    this.canvas = element("canvas", { width: 1, height: 1, role: "img" });
    this.context = this.canvas.getContext("2d");
    this.marks = element("div", { className: "sf-overlay-marks", ariaHidden: "true" });
    this.doubts = element("div", { className: "sf-overlay-marks", ariaHidden: "true" });
    this.tip = element("div", { className: "sf-overlay-tip sf-hidden", ariaHidden: "true" });
    this.sheet = element("div", { className: "sf-overlay-sheet" }, [this.canvas, this.marks, this.doubts, this.tip]);
    const look = { className: "sf-button sf-overlay-enlarge", textContent: "⤢" };
    this.enlarge = button(() => enlarge?.(), look);
    const shown = enlarge ? [this.sheet, this.enlarge] : [this.sheet];
    this.stage = element("div", { className: "sf-overlay-stage", tabIndex: 0, role: "group" }, shown);
    this.canvas.addEventListener("pointermove", (event) => this.onPointer(event));
    this.canvas.addEventListener("pointerleave", () => this.point(0));
    this.canvas.addEventListener("click", (event) => this.onClick(event));
    // the editor would open a search for nodes
    this.stage.addEventListener("dblclick", (event) => event.stopPropagation());
  }

  buildControls() {
    this.back = button(() => this.state.turnTo(this.state.page - 1), { textContent: "◀" });
    this.next = button(() => this.state.turnTo(this.state.page + 1), { textContent: "▶" });
    this.status = element("span", { className: "sf-status", role: "status" });
    this.info = element("div", { className: "sf-row" }, [this.back, this.next, this.status]);
    this.outline = button(() => this.state.setOutline(!this.state.outline));
    this.persons = button(() => this.state.setPersons(!this.state.persons));
    this.mend = button(() => this.mendMasks(), { className: "sf-button sf-overlay-mend" });
    this.slider = element("input", { type: "range", min: 0, max: 1, step: 0.05 });
    this.slider.addEventListener("input", () => this.state.dragOpacity(Number(this.slider.value)));
    // a slider that is back where it was does not say that it changed
    this.slider.addEventListener("blur", () => this.state.dragOpacity(null));
    this.slider.addEventListener("change", () => {
      this.state.setOpacity(Number(this.slider.value));
      this.slider.blur(); // the editor ignores Ctrl+Z while an input has the focus
    });
    this.opacityName = element("span", { className: "sf-quiet" });
    this.opacityText = element("output", { className: "sf-overlay-number" });
    const opacity = [this.opacityName, this.slider, this.opacityText];
    this.opacity = element("label", { className: "sf-row sf-overlay-opacity" }, opacity);
    // the node's own setting is the slider, where there is one
    const controls = this.state.opacityWidget ? [] : [this.opacity];
    this.controls = element("div", { className: "sf-row sf-overlay-controls" }, [
      this.legend.all,
      this.legend.none,
      this.outline,
      this.persons,
      this.mend,
      ...controls,
    ]);
  }

  /** The view will not be used again. */
  dispose() {
    this.stopListening();
    this.resizes.disconnect();
  }

  /** Show what the state says. The old picture stays until the new one is there. */
  update() {
    const { preview } = this.state;
    if (preview && preview === this.preview) this.coming = preview; // back from a page that was not read in time
    else if (preview && preview !== this.coming) this.read(preview);
    this.label();
    this.draw();
  }

  /** @param {Preview} preview */
  async read(preview) {
    this.coming = preview;
    const { page, previews } = this.state;
    const place = previews.length > 1 ? `${page + 1}/${previews.length}` : "";
    let layers = null;
    let problem = "";
    try {
      layers = await readLayers(preview);
    } catch (error) {
      problem = error.message;
    }
    if (preview !== this.coming) return; // another page was asked for meanwhile
    this.point(0);
    Object.assign(this, { layers, problem, place, preview: layers ? preview : null });
    this.showMarks();
    this.label();
    this.draw();
  }

  thickness() {
    const shown = this.canvas.clientWidth;
    return shown ? Math.max(1, Math.round((LINE * (this.layers?.picture.width ?? shown)) / shown)) : 1;
  }

  draw() {
    const { layers, preview, state } = this;
    if (!layers || !preview) return;
    const { hidden, opacity } = state;
    this.drawnThickness = this.thickness();
    const drawn = paint(layers, {
      colours: preview.regions.map(({ name }) => colourOf(name)),
      // background is context: it stays readable under a thinner colour
      shares: preview.regions.map(({ name }) => (hidden.has(name) ? 0 : opacity * (name === BACKGROUND ? 0.5 : 1))),
      soft: preview.regions.findIndex(({ soft, name }) => soft && !hidden.has(name)),
      outline: state.outline,
      persons: state.persons && (preview.persons ?? 0) > 1,
      pointed: this.pointed,
      thickness: this.drawnThickness,
    });
    if (this.canvas.width !== drawn.width || this.canvas.height !== drawn.height) {
      Object.assign(this.canvas, { width: drawn.width, height: drawn.height });
      this.sheet.style.setProperty("--ratio", String(drawn.width / drawn.height));
    }
    this.context.putImageData(drawn, 0, 0);
  }

  showMarks() {
    const places = (this.preview?.persons ?? 0) > 1 && this.layers ? personPlaces(this.layers) : [];
    const marks = places.map(({ number, x, y }) => {
      const style = { left: `${x * 100}%`, top: `${y * 100}%` };
      return element("span", { className: "sf-overlay-person", textContent: String(number), style });
    });
    this.marks.replaceChildren(...marks);
    this.doubts.replaceChildren(...rings(this.preview?.doubts));
  }

  /** Write every word anew. */
  label() {
    const { preview, state } = this;
    const pictures = hasPictures(state.node);
    this.empty.classList.toggle("sf-hidden", Boolean(preview));
    for (const part of [this.stage, this.legend.root, this.info, this.controls]) {
      part.classList.toggle("sf-hidden", !preview);
    }
    this.emptyText.textContent = text(pictures ? "overlay.empty" : "overlay.connect");
    this.runButton.textContent = text("overlay.run");
    this.runButton.classList.toggle("sf-hidden", !pictures);
    this.showNotice();
    if (!preview) return;
    this.legend.update(preview);
    this.labelControls(preview);
    const status = describe(preview, this.place);
    if (this.status.textContent !== status) this.status.textContent = this.status.title = status;
    this.canvas.setAttribute("aria-label", text("overlay.picture", { status }));
    this.stage.setAttribute("aria-label", text(state.previews.length > 1 ? "overlay.stagePages" : "overlay.stage"));
  }

  /** @param {Preview} preview */
  labelControls(preview) {
    const { state } = this;
    entitle(this.back, text("overlay.back"));
    entitle(this.next, text("overlay.next"));
    entitle(this.enlarge, text("overlay.enlarge"));
    for (const pager of [this.back, this.next]) pager.classList.toggle("sf-hidden", state.previews.length < 2);
    this.outline.textContent = text("overlay.outline");
    this.outline.title = text("overlay.outlineTip");
    this.outline.setAttribute("aria-pressed", String(state.outline));
    this.persons.textContent = text("overlay.numbers");
    this.persons.title = text("overlay.numbersTip");
    this.persons.setAttribute("aria-pressed", String(state.persons));
    this.persons.classList.toggle("sf-hidden", (preview.persons ?? 0) < 2);
    this.marks.classList.toggle("sf-hidden", !state.persons);
    this.mend.textContent = `✎ ${text("mend.open")}`;
    offerMending(this.mend, preview);
    this.opacityName.textContent = text("overlay.opacity");
    this.slider.title = text("overlay.opacityTip");
    this.slider.disabled = state.outline;
    this.slider.value = String(state.opacity);
    this.opacityText.textContent = `${Math.round(state.opacity * 100)}%`;
  }

  showNotice() {
    const { preview, problem, state } = this;
    const { failure } = state;
    const notices = [
      failure && text("overlay.failed", { reason: faultInWords(failure) }),
      problem && text("overlay.unreadable", { reason: faultInWords(problem) }),
      state.mended && text("mend.notRun"),
      [absence(preview), ...doubtsInWords(preview?.doubts), ...aboutFile(preview)].filter(Boolean).join(" "),
    ];
    const notice = notices.find(Boolean) ?? "";
    if (this.notice.textContent !== notice) this.notice.textContent = notice;
    this.notice.title = failure || problem || notice; // as the log has it
    this.notice.classList.toggle("sf-hidden", !notice);
    this.notice.classList.toggle("sf-overlay-error", Boolean(failure || problem));
  }

  /**
   * Mark a region, in the picture and in the legend.
   * @param {number} label 1 + index of the region, or 0
   */
  point(label) {
    if (!label) this.tip.classList.add("sf-hidden");
    if (label === this.pointed) return;
    this.pointed = label;
    this.legend.point(label);
    this.draw();
  }

  /**
   * The place in the picture that the pointer is over.
   * @param {MouseEvent} event
   * @returns {number} of the pixel, row by row
   */
  placeOf({ offsetX, offsetY }) {
    const { clientWidth, clientHeight, width, height } = this.canvas;
    const x = Math.min(width - 1, Math.max(0, Math.floor((offsetX / clientWidth) * width)));
    const y = Math.min(height - 1, Math.max(0, Math.floor((offsetY / clientHeight) * height)));
    return y * width + x;
  }

  /** @param {PointerEvent} event */
  onPointer(event) {
    if (!this.layers || !this.preview) return;
    const at = this.placeOf(event);
    const label = this.layers.regions[at];
    this.point(label);
    if (!label) return;
    const { name } = this.preview.regions[label - 1];
    const region = regionName(name);
    const said = [this.state.hidden.has(name) ? text("overlay.hidden", { region }) : region];
    const number = (this.preview.persons ?? 0) > 1 && this.layers.persons[at];
    if (number) said.push(text("overlay.person", { number }));
    this.tip.textContent = said.join(" · ");
    this.tip.classList.remove("sf-hidden");
    const { clientWidth, clientHeight } = this.canvas;
    this.tip.style.left = `${event.offsetX}px`;
    this.tip.style.top = `${event.offsetY}px`;
    this.tip.classList.toggle("sf-overlay-left", event.offsetX > clientWidth / 2);
    this.tip.classList.toggle("sf-overlay-above", event.offsetY > clientHeight / 2);
  }

  /** @param {MouseEvent} event */
  onClick(event) {
    const label = this.layers?.regions[this.placeOf(event)];
    if (!label || !this.preview) return;
    const { name } = this.preview.regions[label - 1];
    this.state.choose(name, event);
    this.onPointer(/** @type {PointerEvent} */ (event)); // it may be hidden now
  }

  /** Correct the masks of the picture by hand. */
  async mendMasks() {
    const { page, wrote } = await mendPreviews(this.state.previews, this.state.page);
    if (wrote) this.state.noteMended();
    if (page !== this.state.page) this.state.turnTo(page);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const turn = PAGE_KEYS[event.key];
    const isTyping = event.target instanceof HTMLInputElement;
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.toLowerCase() === "m" && this.isLarge) this.mendMasks();
    if (!turn) return;
    event.preventDefault(); // nothing scrolls
    this.state.turnTo(turn(this.state.page, this.state.previews.length));
  }
}

/**
 * What there is to say of the file that masks were read from, or that was in their place.
 * @param {Preview | null} preview
 */
function aboutFile(preview) {
  if (!preview) return [];
  const { absent = "", left_out: leftOut, aside } = preview;
  const lacking = absent.split(", ").filter((region) => region && region !== BACKGROUND);
  return [
    lacking.length && text("overlay.byHandAbsent", { regions: regionNames(lacking.join(", ")) }),
    absent.split(", ").includes(BACKGROUND) && text("overlay.byHandBackground"),
    leftOut && text("overlay.byHandLeftOut", { regions: regionNames(leftOut) }),
    aside && text("overlay.damagedAside", { file: aside }),
  ];
}

/**
 * What there is to say when nobody is in a picture.
 * @param {Preview | null} preview
 */
function absence(preview) {
  if (preview?.persons !== 0) return "";
  return text(preview.chosen ? "overlay.chosenAbsent" : "overlay.nobodyNotice", { which: preview.chosen });
}

/**
 * @param {Preview} preview
 * @param {string} place among the others, if there are any
 */
function describe(preview, place) {
  const said = place ? [place] : [];
  if (preview.persons !== null) {
    const key = ["overlay.nobody", "overlay.onePerson"][preview.persons] ?? "overlay.manyPersons";
    said.push(text(key, { count: preview.persons }));
  }
  if (preview.backend) said.push(preview.backend === BY_HAND ? text("overlay.byHand") : preview.backend);
  const [kept, all] = preview.cache.split("/").map(Number);
  if (kept && kept === all) said.push(text("overlay.fromFile"));
  if (preview.by_hand?.length) {
    said.push(text("dataset.byHandRegions", { regions: regionNames(preview.by_hand.join(", ")) }));
  }
  if (preview.seconds !== null) said.push(text("overlay.seconds", { seconds: preview.seconds.toFixed(1) }));
  return [...said, `${preview.width}×${preview.height}`].join(" · ");
}
