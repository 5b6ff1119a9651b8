// The curves of a training with their legend; the legend tells the values under the crosshair.
import { Chart } from "./chart.mjs";
import { SHAPES } from "./chart_colour.mjs";
import { figure } from "../lib/figures.mjs";
import { colourOf } from "../lib/palette.mjs";
import { element } from "../lib/panel.mjs";
import { regionName, text } from "../lib/text.mjs";

/**
 * @typedef {import("./runs.mjs").Run} Run
 * @typedef {import("./chart.mjs").Curve} Curve
 * @typedef {{log: boolean, smoothing: number, hidden: string[], heldOut: boolean}} View
 */

const TOTAL = "total";
const PRIOR = "prior";
const DRIFT = "drift:";
const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name of a curve, as the user reads it */
function nameOf(name) {
  if (name.startsWith(DRIFT)) return text("training.drift", { name: regionName(name.slice(DRIFT.length)) });
  return name === TOTAL || name === PRIOR ? text(`training.${name}`) : regionName(name);
}

/** @param {ArrayLike<number>} values */
const hasNumber = (values) => Array.prototype.some.call(values, (value) => value === value);

const line = { colour: null, shape: null };

/**
 * @param {Record<string, number[]>} regions
 * @returns {Curve[]}
 */
function regionCurves(regions) {
  const known = Object.entries(regions).filter(([, values]) => hasNumber(values));
  return known.map(([name, values], shape) => ({ name, values, shape, colour: colourOf(name), dashed: false }));
}

/**
 * @param {Run} run
 * @returns {Curve[]}
 */
function curvesOf({ points }) {
  const curves = regionCurves(points.regions);
  if (points.prior.some((value) => value > 0)) {
    curves.push({ ...line, name: PRIOR, dashed: true, values: points.prior });
  }
  // drawn in this order: the total lies on top
  return [...curves, { ...line, name: TOTAL, dashed: false, values: points.total }];
}

/**
 * @param {import("./runs.mjs").Validation} validation
 * @returns {Curve[]}
 */
function heldOutCurves({ regions, drift, loss }) {
  const moved = regionCurves(drift).map((curve) => ({ ...curve, name: DRIFT + curve.name, dashed: true }));
  return [...regionCurves(regions), ...moved, { ...line, name: TOTAL, dashed: false, values: loss }];
}

/** @param {import("./runs.mjs").Validation} validation @returns {import("./chart.mjs").Mark | null} its lowest loss */
function bestOf({ step, loss }) {
  const best = loss.indexOf(Math.min(...loss.filter((value) => value === value)));
  return best < 0 ? null : { step: step[best], words: text("training.best", { step: step[best] }) };
}

/** @param {Curve} curve how it is drawn, small */
function sample({ shape, dashed }) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "-3 -1.6 6 3.2");
  svg.setAttribute("class", "sf-training-sample-line");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", "M-3 0H3");
  line.setAttribute("stroke", "currentColor");
  line.setAttribute("stroke-width", "0.55");
  if (dashed) line.setAttribute("stroke-dasharray", "1.2 1.2");
  svg.append(line);
  if (shape !== null) {
    const mark = document.createElementNS(SVG, "path");
    mark.setAttribute("d", SHAPES[shape % SHAPES.length]);
    mark.setAttribute("fill", "currentColor");
    svg.append(mark);
  }
  return svg;
}

export class TrainingCurves {
  /**
   * @param {() => View} view what is looked at how
   * @param {(name: string) => void} toggle a curve
   */
  constructor(view, toggle) {
    this.view = view;
    this.toggle = toggle;
    this.chart = new Chart(
      () => this.label(),
      (step) => text("training.atStep", { step }),
    );
    this.legend = element("div", { className: "sf-training-legend", role: "group" });
    this.root = element("div", { className: "sf-training-curves" }, [this.chart.root, this.legend]);
    /** @type {Run | undefined} */
    this.run = undefined;
    this.summary = "";
    this.entries = "";
  }

  /**
   * @param {Run | undefined} run
   * @param {string} summary its state in words
   */
  show(run, summary) {
    this.run = run;
    this.summary = summary;
    const validation = this.heldOut;
    if (validation) this.chart.take(validation.step, heldOutCurves(validation), bestOf(validation));
    else this.chart.take(run?.points.step ?? [], run?.points.step.length ? curvesOf(run) : []);
    this.restyle();
  }

  /** What is held out, where it is looked at. */
  get heldOut() {
    return this.view().heldOut ? this.run?.points.validation : undefined;
  }

  /** The colours, the language or the view are other ones. */
  restyle() {
    const { log, smoothing, hidden } = this.view();
    // the same noise each time: its curves need none
    this.chart.restyle({ log, smoothing: this.heldOut ? 0 : smoothing, hidden: new Set(hidden) });
    this.legend.setAttribute("aria-label", text("training.legend"));
    const theme = this.chart.theme();
    const drawn = this.chart.curves.map((curve) => [nameOf(curve.name), Chart.colour(curve, theme)]);
    const entries = JSON.stringify([drawn, hidden]);
    // made anew only when it must: a button that is replaced loses the focus and the click
    if (entries !== this.entries || !this.legend.isConnected) this.makeLegend();
    this.entries = entries;
    this.label();
  }

  makeLegend() {
    const { hidden } = this.view();
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.curve;
    const { curves } = this.chart;
    const ordered = [...curves.slice(-1), ...curves.slice(0, -1)];
    const buttons = ordered.map((curve) => this.entry(curve, !hidden.includes(curve.name)));
    const regain = this.legend.contains(document.activeElement);
    this.legend.replaceChildren(...buttons);
    if (regain) buttons.find(({ dataset }) => dataset.curve === focused)?.focus();
  }

  /**
   * @param {Curve} curve
   * @param {boolean} shown
   */
  entry(curve, shown) {
    const swatch = element("span", { className: "sf-training-swatch" }, [sample(curve)]);
    swatch.style.color = Chart.colour(curve, this.chart.theme());
    const name = element("span", { className: "sf-training-name", textContent: nameOf(curve.name) });
    const value = element("span", { className: "sf-training-value" });
    const button = element(
      "button",
      {
        type: "button",
        className: "sf-training-entry",
        title: text(shown ? "training.hide" : "training.show", { name: nameOf(curve.name) }),
        dataset: { curve: curve.name },
        aria: { pressed: String(shown) },
      },
      [swatch, name, value],
    );
    button.addEventListener("click", () => this.toggle(curve.name));
    for (const type of ["pointerenter", "focus"]) {
      button.addEventListener(type, () => this.chart.emphasise(shown ? curve.name : null));
    }
    for (const type of ["pointerleave", "blur"]) button.addEventListener(type, () => this.chart.emphasise(null));
    return button;
  }

  /** Say what is under the crosshair, or at the end. */
  label() {
    const { chart } = this;
    const at = chart.cursor ?? chart.steps.length - 1;
    const values = new Map(chart.curves.map((curve) => [curve.name, chart.meanOf(curve)[at] ?? NaN]));
    for (const button of /** @type {Iterable<HTMLElement>} */ (this.legend.children)) {
      const value = /** @type {HTMLElement} */ (button.lastElementChild);
      value.textContent = figure(values.get(button.dataset.curve ?? "") ?? NaN, 3); // names need the room
    }
    const step = chart.steps[at] ?? 0;
    const read = chart.shown.map(({ name }) => `${nameOf(name)} ${figure(values.get(name) ?? NaN)}`);
    const canvas = chart.canvas;
    canvas.setAttribute("aria-label", text("training.chart", { state: this.summary }));
    canvas.setAttribute("aria-valuemin", String(chart.steps[0] ?? 0));
    canvas.setAttribute("aria-valuemax", String(chart.steps[chart.steps.length - 1] ?? 0));
    canvas.setAttribute("aria-valuenow", String(step));
    canvas.setAttribute("aria-valuetext", `${text("training.atStep", { step })}: ${read.join(", ")}`);
    canvas.dataset.step = String(step);
  }
}
