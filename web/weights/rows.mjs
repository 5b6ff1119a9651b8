// The rows of the weights panel: a category's colour, name, slider, typed number, coverage and reset.
import { button, entitle } from "../lib/controls.mjs";
import { css } from "../lib/palette.mjs";
import { element } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";

/**
 * What a row asks of the panel.
 * @typedef {object} RowActions
 * @property {(value: number) => void} change at every move
 * @property {() => void} done when a change is complete: one step of Undo
 * @property {() => void} toggle to 0, or back
 * @property {(() => void) | null} reset to the default
 * @property {(() => void) | null} remove
 * @property {(why: string) => void} refuse an entry that is no number
 *
 * @typedef {object} RowState
 * @property {string} name as the user reads it
 * @property {import("../lib/palette.mjs").Colour} colour
 * @property {string} title
 * @property {number} weight NaN: not known before the run
 * @property {number} step
 * @property {boolean} used whether the weight counts at all
 * @property {string} fixed why it cannot be changed here; empty when it can
 * @property {boolean} atDefault
 * @property {string} coverage
 */

/** @param {number} value */
export function written(value) {
  if (Number.isNaN(value)) return "?";
  return Math.abs(value * 100 - Math.round(value * 100)) < 1e-9 ? value.toFixed(2) : String(value);
}

/** A number that is typed; what is no number within its limits is refused, and the old one stays. */
export class NumberField {
  /**
   * @param {{min: number, max: number}} limits
   * @param {Pick<RowActions, "change" | "done" | "refuse">} actions
   */
  constructor(limits, actions) {
    this.limits = limits;
    this.actions = actions;
    this.step = 0.05;
    this.value = NaN;
    this.label = "";
    this.root = element("input", { type: "text", inputMode: "decimal", className: "sf-field sf-number" });
    this.root.autocomplete = "off";
    this.root.addEventListener("change", () => this.take());
    this.root.addEventListener("focus", () => this.root.select());
    this.root.addEventListener("keydown", (event) => this.onKey(event));
  }

  /** Whether something is typed that does not count yet. */
  get pending() {
    return this.root.value !== written(this.value);
  }

  /**
   * @param {string} label
   * @param {number} value
   * @param {boolean} enabled
   */
  show(label, value, enabled) {
    const typing = this.pending && document.activeElement === this.root;
    this.value = value;
    this.label = label;
    this.root.setAttribute("aria-label", label);
    this.root.disabled = !enabled;
    if (!typing && this.pending) this.root.value = written(value);
  }

  take() {
    const typed = this.root.value.trim().replace(",", ".");
    const value = Number(typed);
    const { min, max } = this.limits;
    const old = this.value;
    if (typed === "" || Number.isNaN(value) || value < min || value > max || value === Infinity) {
      this.root.value = written(old);
      const most = max === Infinity ? "∞" : max;
      this.actions.refuse(text("weights.refused", { name: this.label, typed, min, max: most }));
      return;
    }
    this.value = value;
    this.root.value = written(value);
    if (value === old) return;
    this.actions.change(value);
    this.actions.done();
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (event.isComposing) return;
    if (event.key === "Escape") this.root.value = written(this.value);
    if (event.key === "Enter") this.take();
    const up = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!up) return;
    event.preventDefault();
    const { min, max } = this.limits;
    this.root.value = String(Number(Math.min(max, Math.max(min, this.value + up * this.step)).toFixed(4)));
    this.take();
  }
}

export class WeightRow {
  /**
   * @param {string} key category or input
   * @param {{min: number, max: number, typed?: number}} limits of the slider; a larger number may be typed
   * @param {RowActions} actions
   */
  constructor(key, limits, actions) {
    this.actions = actions;
    this.swatch = button(actions.toggle, { className: "sf-sign sf-toggle" });
    this.name = element("span", { className: "sf-name" });
    this.slider = element("input", { type: "range", className: "sf-slider", min: limits.min, max: limits.max });
    this.slider.addEventListener("input", () => actions.change(Number(this.slider.value)));
    this.slider.addEventListener("change", actions.done);
    this.number = new NumberField({ min: limits.min, max: limits.typed ?? limits.max }, actions);
    this.coverage = element("span", { className: "sf-coverage sf-quiet" });
    const last = actions.remove ?? actions.reset;
    const sign = actions.remove ? { textContent: "✕" } : { textContent: "↺", className: "sf-sign sf-reset" };
    this.end = button(() => last?.(), { className: "sf-sign", ...sign });
    const cells = [this.swatch, this.name, this.slider, this.number.root, this.coverage, this.end];
    this.root = element("div", { className: "sf-weight", dataset: { weight: key } }, cells);
    this.root.setAttribute("role", "group");
    for (const cell of [this.name, this.slider]) cell.addEventListener("dblclick", () => actions.reset?.());
  }

  /** @param {RowState} state */
  show({ name, colour, title, weight, step, used, fixed, atDefault, coverage }) {
    const enabled = !fixed;
    const trained = weight !== 0;
    this.root.style.setProperty("--sf-colour", css(colour));
    this.root.style.setProperty("--sf-share", String(Math.min(1, (weight || 0) / Number(this.slider.max))));
    this.root.classList.toggle("sf-unused", !used);
    this.root.classList.toggle("sf-fixed", !enabled);
    this.root.setAttribute("aria-label", name);
    this.name.textContent = name;
    this.name.title = fixed ? `${title} ${fixed}` : title;
    this.swatch.setAttribute("aria-pressed", String(trained));
    this.swatch.disabled = !enabled;
    entitle(this.swatch, text(trained ? "weights.off" : "weights.on", { name }));
    this.slider.step = String(step);
    // a typed value between the steps stays what it is: the thumb alone goes to the nearest one
    if (Number(this.slider.value) !== weight) this.slider.value = String(weight || 0);
    this.slider.disabled = !enabled;
    this.slider.setAttribute("aria-label", name);
    this.slider.setAttribute("aria-valuetext", trained ? written(weight) : text("weights.free"));
    this.number.step = step;
    this.number.show(text("weights.typed", { name }), weight, enabled);
    this.coverage.textContent = fixed ? "⇤" : coverage;
    this.coverage.title = fixed || (coverage && text("weights.coverage", { name, share: coverage }));
    this.end.disabled = !enabled || (!this.actions.remove && atDefault);
    entitle(this.end, text(this.actions.remove ? "weights.remove" : "weights.reset", { name }));
  }
}
