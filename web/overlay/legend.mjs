// The legend of the mask overlay: a button per region that says what it is, how much of it there is, and shows or
// hides it.
import { button } from "../lib/controls.mjs";
import { percent } from "../lib/figures.mjs";
import { colourOf, css } from "../lib/palette.mjs";
import { element } from "../lib/panel.mjs";
import { regionName, text } from "../lib/text.mjs";

/**
 * @typedef {import("./state.mjs").OverlayState} OverlayState
 * @typedef {import("../lib/previews.mjs").Region} Region
 * @typedef {import("../lib/previews.mjs").Preview} Preview
 * @typedef {{button: HTMLButtonElement, swatch: HTMLElement, name: HTMLElement, amount: HTMLElement}} Chip
 */

export class LegendView {
  /**
   * @param {OverlayState} state
   * @param {(label: number) => void} onPoint told 1 + index of the region that is pointed at, 0 for none
   */
  constructor(state, onPoint) {
    this.state = state;
    this.onPoint = onPoint;
    /** @type {Map<string, Chip>} by region */
    this.chips = new Map();
    this.root = element("div", { className: "sf-wrap sf-overlay-legend", role: "group" });
    this.all = this.quickButton(() => []);
    this.none = this.quickButton((names) => names);
  }

  /** @param {(names: string[]) => string[]} hidden which of the regions to hide */
  quickButton(hidden) {
    return button(() => this.state.hide(hidden(this.state.preview?.regions.map(({ name }) => name) ?? [])));
  }

  /** @param {Preview} preview */
  update(preview) {
    this.root.setAttribute("aria-label", text("overlay.legend"));
    this.all.textContent = text("overlay.all");
    this.all.title = text("overlay.allTip");
    this.none.textContent = text("overlay.none");
    this.none.title = text("overlay.noneTip");
    const names = preview.regions.map(({ name }) => name);
    if (names.join("\n") !== [...this.chips.keys()].join("\n")) {
      this.chips = new Map(names.map((name, index) => [name, this.chip(name, index + 1)]));
      this.root.replaceChildren(...[...this.chips.values()].map(({ button }) => button));
    }
    for (const region of preview.regions) this.fill(region);
  }

  /**
   * @param {string} name
   * @param {number} label
   * @returns {Chip}
   */
  chip(name, label) {
    const swatch = element("span", { className: "sf-swatch" });
    const called = element("span", { className: "sf-overlay-name" });
    const amount = element("span", { className: "sf-quiet" });
    const words = element("span", {}, [called, " ", amount]);
    const press = (event) => this.state.choose(name, event);
    const properties = { className: "sf-button sf-overlay-chip", dataset: { region: name } };
    const chip = button(press, properties, [swatch, words]);
    for (const type of ["pointerenter", "focus"]) chip.addEventListener(type, () => this.onPoint(label));
    for (const type of ["pointerleave", "blur"]) chip.addEventListener(type, () => this.onPoint(0));
    return { button: chip, swatch, name: called, amount };
  }

  /** @param {Region} region */
  fill({ name, coverage, score, certainty }) {
    const chip = /** @type {Chip} */ (this.chips.get(name));
    const shown = !this.state.hidden.has(name);
    chip.button.setAttribute("aria-pressed", String(shown));
    chip.swatch.style.setProperty("--sf-colour", css(colourOf(name)));
    chip.name.textContent = regionName(name);
    const isFound = coverage > 0;
    const amount = [isFound ? percent(coverage) : text("overlay.notFound")];
    if (isFound && score !== null) amount.push(score.toFixed(2));
    chip.amount.textContent = amount.join(" · ");
    chip.button.classList.toggle("sf-overlay-missing", !isFound);
    const lines = [isFound ? text("overlay.coverageTip", { percent: percent(coverage) }) : text("overlay.missingTip")];
    if (isFound && score !== null) lines.push(text("overlay.scoreTip", { score: score.toFixed(2) }));
    if (isFound && certainty !== null) lines.push(text("overlay.certaintyTip", { value: certainty.toFixed(2) }));
    lines.push(text(shown ? "overlay.hideTip" : "overlay.showTip"));
    chip.button.title = lines.join("\n");
  }

  /** @param {number} label 1 + index of the region to mark, or 0 */
  point(label) {
    for (const [index, { button }] of [...this.chips.values()].entries()) {
      button.classList.toggle("sf-overlay-pointed", index + 1 === label);
    }
  }
}
