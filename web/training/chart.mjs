// Curves over steps on a canvas, with a crosshair for pointer and keyboard.
import { app } from "../../../scripts/app.js";
import { parsed, SHAPES, visible } from "./chart_colour.mjs";
import { band, extent, logMarks, marks, nearest, smoothed, trace } from "./chart_scale.mjs";
import { beforeNextFrame } from "../lib/frame.mjs";
import { element } from "../lib/panel.mjs";

/**
 * @typedef {import("../lib/palette.mjs").Colour} Colour
 * @typedef {{name: string, colour: Colour | null, dashed: boolean, values: ArrayLike<number>, shape: number | null}}
 *   Curve `colour` null: the text's; `shape` is an index of SHAPES
 * @typedef {{log: boolean, smoothing: number, hidden: Set<string>}} Look
 * @typedef {{step: number, words: string}} Mark of a step, a line from top to bottom
 */

const MARGIN = { top: 6, right: 8, bottom: 16 };
const GAP = 16; // pixels; shorter absences are bridged
const SHAPES_APART = 90;
const SHARPEST = 4;
const MOST_LEVELS = 8;

/** @param {number} value */
function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(3)));
}

export class Chart {
  /**
   * @param {() => void} onMove told when the crosshair is elsewhere
   * @param {(step: number) => string} nameOfStep
   */
  constructor(onMove, nameOfStep) {
    this.onMove = onMove;
    this.nameOfStep = nameOfStep;
    /** @type {ArrayLike<number>} */
    this.steps = [];
    /** @type {Curve[]} */
    this.curves = [];
    /** @type {Mark | null} */
    this.mark = null;
    /** @type {Look} */
    this.look = { log: false, smoothing: 0, hidden: new Set() };
    /** @type {string | null} name of the curve that stands out */
    this.emphasis = null;
    /** @type {number | null} index of the step under the crosshair */
    this.cursor = null;
    /** @type {Map<Curve, Float64Array>} */
    this.means = new Map();
    this.plot = { left: 0, right: 1, first: 0, last: 1 };
    /** Draw with the next frame. */
    this.request = beforeNextFrame(() => this.draw());
    this.canvas = element("canvas", { tabIndex: 0, className: "sf-chart-canvas", role: "slider" });
    this.root = element("div", { className: "sf-chart" }, [this.canvas]);
    this.listen();
    // not of the canvas: drawing must never change what is observed
    new ResizeObserver(() => this.request()).observe(this.root);
  }

  listen() {
    this.canvas.addEventListener("pointermove", (event) => {
      const { left, right, first, last } = this.plot;
      const share = (event.offsetX - left) / Math.max(1, right - left);
      this.move(this.steps.length ? nearest(this.steps, first + share * (last - first)) : null);
    });
    this.canvas.addEventListener("pointerleave", () => this.move(null));
    this.canvas.addEventListener("blur", () => this.move(null));
    this.canvas.addEventListener("keydown", (event) => {
      const end = this.steps.length - 1;
      const at = this.cursor ?? end;
      const far = event.shiftKey ? 10 : 1;
      const places = {
        ArrowLeft: this.cursor === null ? end : at - far,
        ArrowDown: this.cursor === null ? end : at - far,
        ArrowRight: at + far,
        ArrowUp: at + far,
        PageDown: at - Math.ceil(end / 10),
        PageUp: at + Math.ceil(end / 10),
        Home: 0,
        End: end,
      };
      const wanted = places[event.key];
      if (event.key === "Escape" && this.cursor !== null) {
        this.move(null);
        event.preventDefault();
      } else if (wanted !== undefined && end >= 0) {
        this.move(Math.min(end, Math.max(0, wanted)));
        event.preventDefault();
      }
    });
  }

  /** @param {number | null} cursor index of a step */
  move(cursor) {
    if (cursor === this.cursor) return;
    this.cursor = cursor;
    this.request();
    this.onMove();
  }

  /**
   * @param {ArrayLike<number>} steps rising
   * @param {Curve[]} curves
   * @param {Mark | null} [mark]
   */
  take(steps, curves, mark = null) {
    this.mark = mark;
    this.steps = steps;
    this.curves = curves;
    this.means.clear();
    if (this.cursor !== null && this.cursor >= steps.length) this.cursor = null;
    this.request();
  }

  /** @param {Look} look */
  restyle(look) {
    if (look.smoothing !== this.look.smoothing) this.means.clear();
    this.look = look;
    this.request();
  }

  /** @param {string | null} name */
  emphasise(name) {
    this.emphasis = name;
    this.request();
  }

  /** @param {Curve} curve */
  meanOf(curve) {
    const found = this.means.get(curve) ?? smoothed(curve.values, this.look.smoothing);
    this.means.set(curve, found);
    return found;
  }

  get shown() {
    return this.curves.filter(({ name }) => !this.look.hidden.has(name));
  }

  /** The colours of text, quiet text, lines and ground in the present theme. */
  theme() {
    const style = getComputedStyle(this.root);
    const panel = this.root.closest(".sf-panel, .sf-dialog");
    return {
      ink: parsed(style.color),
      quiet: getComputedStyle(this.canvas).color,
      line: style.borderTopColor,
      ground: parsed(panel ? getComputedStyle(panel).backgroundColor : "rgb(0 0 0)"),
    };
  }

  /** @param {Curve} curve @param {{ink: Colour, ground: Colour}} theme */
  static colour(curve, { ink, ground }) {
    return `rgb(${(curve.colour ? visible(curve.colour, ground, ink) : ink).map(Math.round).join(" ")})`;
  }

  draw() {
    const width = this.root.clientWidth;
    const height = this.root.clientHeight;
    if (!width || !height) return;
    // both renderers enlarge panels with a CSS transform, and tell nobody
    const zoom = this.root.closest(".sf-dialog") ? 1 : Math.max(2, app.canvas?.ds?.scale ?? 1);
    const density = Math.min(SHARPEST, (window.devicePixelRatio || 1) * zoom);
    const [wide, high] = [Math.round(width * density), Math.round(height * density)];
    const { canvas } = this;
    if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
    const context = canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "10px Inter, system-ui, sans-serif";
    this.paint(context, width, height);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   */
  paint(context, width, height) {
    const theme = this.theme();
    const { log } = this.look;
    const range = this.range();
    if (!range) return;
    const [low, high] = range;
    const bottom = height - MARGIN.bottom;
    const room = Math.min(MOST_LEVELS, Math.max(3, Math.floor((bottom - MARGIN.top) / 22)));
    const levels = log ? logMarks(low, high, room) : marks(low, high, room);
    const left = Math.ceil(Math.max(...levels.map((level) => context.measureText(short(level)).width))) + 8;
    const right = width - MARGIN.right;
    const first = this.steps[0];
    const last = Math.max(first + 1, this.steps[this.steps.length - 1]);
    this.plot = { left, right, first, last };
    const across = (right - left) / (last - first);
    const form = log ? Math.log : Number;
    const up = (bottom - MARGIN.top) / (form(high) - form(low));
    const scale = {
      toX: (step) => left + (step - first) * across,
      toY: (value) => bottom - (form(value) - form(low)) * up,
      log,
      gap: GAP,
    };
    this.axes(context, theme, scale, levels, { left, right, bottom });
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left + 2, bottom + 1);
    context.clip();
    this.lines(context, theme, scale);
    context.restore();
    if (this.mark && this.cursor === null) {
      context.setLineDash([2, 3]);
      this.upright(context, theme, scale.toX(this.mark.step), bottom, this.mark.words);
      context.setLineDash([]);
    }
    this.crosshair(context, theme, scale, bottom);
  }

  /** @returns {[number, number] | null} of the vertical axis */
  range() {
    const { log } = this.look;
    const found = extent(this.shown.map((curve) => this.meanOf(curve)), log);
    if (!found) return null;
    const [low, high] = found;
    if (log) return high > low ? [low / 1.05, high * 1.05] : [low / 2, high * 2];
    const top = high + (high - Math.min(0, low)) * 0.05;
    return [Math.min(0, low), top > Math.min(0, low) ? top : 1];
  }

  axes(context, theme, { toX, toY }, levels, { left, right, bottom }) {
    context.strokeStyle = theme.line;
    context.fillStyle = theme.quiet;
    context.lineWidth = 1;
    context.globalAlpha = 0.5;
    context.beginPath();
    for (const level of levels) {
      const y = Math.round(toY(level)) + 0.5;
      context.moveTo(left, y);
      context.lineTo(right, y);
    }
    context.stroke();
    context.globalAlpha = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const level of levels) context.fillText(short(level), left - 4, Math.min(bottom - 3, toY(level)));
    context.textBaseline = "bottom";
    const { first, last } = this.plot;
    const places = marks(first, last, Math.min(MOST_LEVELS, Math.max(1, Math.floor((right - left) / 60))));
    for (const step of places.filter((place) => Number.isInteger(place))) {
      const text = String(step);
      const half = context.measureText(text).width / 2;
      context.textAlign = "center";
      context.fillText(text, Math.min(right - half, Math.max(left + half, toX(step))), bottom + MARGIN.bottom);
    }
  }

  lines(context, theme, scale) {
    const { left, right } = this.plot;
    // where single steps have no room, what they range over is shown
    const dense = this.steps.length > right - left;
    context.lineCap = "round";
    context.lineJoin = dense ? "bevel" : "round";
    const begin = (curve, alpha) => {
      const faded = this.emphasis !== null && this.emphasis !== curve.name;
      context.globalAlpha = faded ? alpha * 0.3 : alpha;
      context.strokeStyle = context.fillStyle = Chart.colour(curve, theme);
      context.beginPath();
    };
    for (const curve of this.look.smoothing > 0 ? this.shown : []) {
      begin(curve, dense ? 0.14 : 0.2);
      context.lineWidth = 1;
      (dense ? band : trace)(context, this.steps, curve.values, scale);
      if (dense) context.fill();
      else context.stroke();
    }
    for (const curve of this.shown) {
      begin(curve, 1);
      context.lineWidth = this.emphasis === curve.name ? 2.6 : 1.6;
      // dashes of a curve that fills its columns would be without number
      context.setLineDash(curve.dashed && (!dense || this.look.smoothing > 0.5) ? [4, 4] : []);
      trace(context, this.steps, this.meanOf(curve), scale);
      context.stroke();
    }
    context.setLineDash([]);
    for (const curve of this.shown) this.shapes(context, theme, scale, curve);
    context.globalAlpha = 1;
  }

  /** Marks along a curve, by which it is known without its colour. */
  shapes(context, theme, { toX, toY, log }, curve) {
    if (curve.shape === null || !this.steps.length) return;
    const { left, right, first, last } = this.plot;
    const outline = new Path2D(SHAPES[curve.shape % SHAPES.length]);
    context.fillStyle = Chart.colour(curve, theme);
    context.globalAlpha = this.emphasis !== null && this.emphasis !== curve.name ? 0.3 : 1;
    const mean = this.meanOf(curve);
    const begin = left + 14 + ((curve.shape * 37) % SHAPES_APART);
    for (let x = begin; x < right; x += SHAPES_APART) {
      const at = nearest(this.steps, first + ((x - left) / (right - left)) * (last - first));
      const value = mean[at];
      if (value !== value || (log && value <= 0)) continue;
      context.save();
      context.translate(toX(this.steps[at]), toY(value));
      context.scale(3.4, 3.4);
      context.fill(outline);
      context.restore();
    }
  }

  crosshair(context, theme, { toX, toY, log }, bottom) {
    if (this.cursor === null) return;
    const x = toX(this.steps[this.cursor]);
    this.upright(context, theme, x, bottom, this.nameOfStep(this.steps[this.cursor]));
    for (const curve of this.shown) {
      const value = this.meanOf(curve)[this.cursor];
      if (value !== value || (log && value <= 0)) continue;
      context.fillStyle = Chart.colour(curve, theme);
      context.beginPath();
      context.arc(x, toY(value), 3, 0, 2 * Math.PI);
      context.fill();
    }
  }

  /** A line from top to bottom, with words beside it. */
  upright(context, theme, x, bottom, words) {
    context.strokeStyle = theme.quiet;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(Math.round(x) + 0.5, MARGIN.top);
    context.lineTo(Math.round(x) + 0.5, bottom);
    context.stroke();
    const wide = context.measureText(words).width + 8;
    const { left, right } = this.plot;
    const begin = x + wide + 4 > right ? Math.max(left, x - wide - 4) : x + 4;
    context.fillStyle = `rgb(${theme.ground.join(" ")} / 85%)`;
    context.fillRect(begin, MARGIN.top, wide, 15);
    context.fillStyle = `rgb(${theme.ink.join(" ")})`;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(words, begin + 4, MARGIN.top + 8);
  }
}
