// The values of Semantic Cosine Loss: its ordinary inputs, what of them counts, and the text of the user's own weights.
import { app } from "../../../scripts/app.js";
import { placesOf } from "../lib/graph.mjs";
import { sendsLink, valueOf } from "../lib/graph_walk.mjs";
import { CATEGORIES, PRESETS } from "../lib/palette.mjs";
import { widgetOf } from "../lib/panel.mjs";
import { tooltipOf } from "../lib/text.mjs";

export const ENABLED = "enabled";
export const PRESET = "preset";
export const CUSTOM = "custom";
export const FALLBACK = "global_fallback";
export const OWN = "more_weights";
const PRIOR = "prior_weight";
export const TERMS = ["cosine_weight", "magnitude_weight", PRIOR];

const LINE = /^\s*([\p{L}_][\p{L}\p{N}_ -]{0,39}?)\s*[:：]\s*(\S+)\s*$/u;
const NAME = /^[\p{L}_][\p{L}\p{N}_ -]{0,39}$/u;
// semantic_focus/keywords.py: names that losses and reports give to what is no category
const RESERVED = ["residual", "global", "total"];

/** The input that holds a category's weight. @param {string} category */
export const inputOf = (category) => `${category}_weight`;

/** Every input that the panel edits. */
export const INPUTS = [ENABLED, PRESET, ...Object.keys(CATEGORIES).map(inputOf), FALLBACK, ...TERMS, OWN];

/**
 * @typedef {{default: any, min: number, max: number, tooltip: string}} Limits
 * @typedef {{enabled: boolean, weights: Record<string, number>, fallback: number, prior: number}} Effective
 *   what counts in the end; NaN is a number that a link will bring
 */

/**
 * The user's own weights, as parse_weights of semantic_focus/keywords.py reads them.
 * @param {string} text
 * @returns {{weights: Record<string, number>, wrong: string | null}} the first line that cannot be read
 */
export function parseWeights(text) {
  /** @type {Record<string, number>} */
  const weights = {};
  let wrong = null;
  for (const line of text.split(/\r?\n/)) {
    if (!line.trim()) continue;
    const [, name, value] = LINE.exec(line) ?? [];
    const weight = Number(value);
    if (name && !RESERVED.includes(name) && !(name in weights) && weight >= 0 && weight < Infinity) {
      weights[name] = weight;
    } else wrong ??= line.trim();
  }
  return { weights, wrong };
}

/**
 * The text with another weight of one category; all other lines stay as they are.
 * @param {string} text
 * @param {string} name
 * @param {number | null} weight null takes it out
 */
function withWeight(text, name, weight) {
  const lines = text.split(/\r?\n/);
  const place = lines.findIndex((line) => LINE.exec(line)?.[1] === name);
  const line = weight === null ? [] : [`${name}: ${weight}`];
  if (place >= 0) lines.splice(place, 1, ...line);
  else {
    while (lines.length && !lines[lines.length - 1].trim()) lines.pop();
    lines.push(...line);
  }
  return lines.join("\n");
}

/**
 * Whether a category of the user's own can have this name.
 * @param {string} name
 */
export function isName(name) {
  return NAME.test(name) && !RESERVED.includes(name);
}

export class WeightValues {
  /**
   * @param {any} node
   * @param {Record<string, any>} inputs the node's definition: input -> [type, options]
   */
  constructor(node, inputs) {
    this.node = node;
    this.inputs = inputs;
    /** presets that train the whole picture alike @type {string[]} */
    this.whole = inputs[PRESET][1].whole_picture;
    /** whether a change of a weight comes from a preset */
    this.presetMoves = false;
    this.categories = Object.keys(CATEGORIES);
  }

  /**
   * What the schema says of an input.
   * @param {string} input
   * @returns {Limits}
   */
  limits(input) {
    return this.inputs[input][1];
  }

  /** What an input is for, in the user's language. @param {string} input */
  tooltip(input) {
    return tooltipOf(this.node.comfyClass, input, this.limits(input).tooltip ?? "");
  }

  /** @param {string} input */
  linked(input) {
    return this.node.inputs?.find((slot) => slot.widget?.name === input)?.link != null;
  }

  /**
   * The value that will be sent; undefined when only the run will tell.
   * @param {string} input
   * @returns {any}
   */
  get(input) {
    if (!this.linked(input)) return widgetOf(this.node, input).value;
    const values = new Set(placesOf(this.node).map((place) => valueOf(place, input)));
    // a subgraph that is there twice may be given two
    return values.size === 1 ? [...values][0] : undefined;
  }

  /**
   * Change an input as the user would: callbacks are what the Vue renderer and other packs listen to.
   * @param {string} input
   * @param {any} value
   */
  set(input, value) {
    const widget = widgetOf(this.node, input);
    widget.value = value;
    widget.callback?.(value, app.canvas, this.node);
    // the editor's own callback rounds to the step; what was typed is meant
    if (widget.value !== value) widget.value = value;
  }

  /** @returns {Record<string, number>} by category of the user's own */
  get own() {
    return parseWeights(this.get(OWN) ?? "").weights;
  }

  /** Whether the preset trains the whole picture, whatever the switch was. */
  get isWhole() {
    return this.whole.includes(this.get(PRESET));
  }

  /** Train by region instead of whole pictures, or the other way round. */
  toggle() {
    const byRegion = !this.effective().enabled;
    if (byRegion && this.isWhole) this.set(PRESET, CUSTOM);
    this.set(ENABLED, byRegion);
  }

  /** @returns {Effective} */
  effective() {
    const number = (input) => Number(this.get(input) ?? NaN);
    const weights = Object.fromEntries(this.categories.map((name) => [name, number(inputOf(name))]));
    return {
      enabled: (this.get(ENABLED) ?? true) && !this.isWhole,
      weights: { ...weights, ...this.ofPreset(), ...this.own },
      fallback: number(FALLBACK),
      prior: number(PRIOR),
    };
  }

  /**
   * What the preset says of the categories that no other node gives a weight, as nodes/loss.py goes by it.
   * @returns {Record<string, number>}
   */
  ofPreset() {
    const places = placesOf(this.node);
    const given = (name) => places.some((place) => sendsLink(place, inputOf(name)));
    const weights = Object.entries(PRESETS[this.get(PRESET)] ?? {});
    return Object.fromEntries(weights.filter(([name]) => !given(name)));
  }

  /**
   * The categories whose weight the preset takes the place of, with the weights that they were given.
   * @returns {[string, number][]}
   */
  overruled() {
    const set = Object.keys(this.ofPreset()).map((name) => [name, Number(this.get(inputOf(name)) ?? NaN)]);
    return /** @type {[string, number][]} */ (set).filter(
      ([name, weight]) => !Number.isNaN(weight) && weight !== PRESETS[this.get(PRESET)][name],
    );
  }

  /**
   * The weight that a category, or the rest, has in the end.
   * @param {string} name category or FALLBACK
   */
  weight(name) {
    const { weights, fallback } = this.effective();
    return name === FALLBACK ? fallback : weights[name];
  }

  /** Whether a category of this name, in whatever case, has a weight. @param {string} name */
  isTaken(name) {
    return Object.keys(this.effective().weights).some((one) => one.toLowerCase() === name.toLowerCase());
  }

  /** Whether a category's weight is a line of the user's own text. @param {string} name */
  isOwn(name) {
    return name in this.own;
  }

  /**
   * Give a category or the rest another weight.
   * @param {string} name category or FALLBACK
   * @param {number} weight
   */
  setWeight(name, weight) {
    if (name === FALLBACK) this.set(FALLBACK, weight);
    else {
      this.leavePreset();
      this.set(inputOf(name), weight);
    }
  }

  /**
   * @param {string} name
   * @param {number | null} weight null takes it out
   */
  setOwn(name, weight) {
    this.set(OWN, withWeight(widgetOf(this.node, OWN).value, name, weight));
  }

  /** From here on the sliders count: they begin where the preset had them. */
  leavePreset() {
    if (this.get(PRESET) === CUSTOM || this.linked(PRESET)) return;
    this.applyPreset();
    this.set(PRESET, CUSTOM);
  }

  /** Move the sliders to where the chosen preset has them. */
  applyPreset() {
    this.presetMoves = true;
    for (const [category, weight] of Object.entries(PRESETS[this.get(PRESET)] ?? {})) {
      const input = inputOf(category);
      if (!this.linked(input) && widgetOf(this.node, input).value !== weight) this.set(input, weight);
    }
    this.presetMoves = false;
  }

  /**
   * The chosen preset's weight of a category, else that of a new node.
   * @param {string} name category, FALLBACK, or one of the user's own, which has none
   * @returns {number | undefined}
   */
  defaultOf(name) {
    if (name === FALLBACK) return this.limits(FALLBACK).default;
    if (!(name in CATEGORIES)) return undefined;
    return PRESETS[this.get(PRESET)]?.[name] ?? this.limits(inputOf(name)).default;
  }

  /** @param {string} name category or FALLBACK */
  resetWeight(name) {
    const weight = Number(this.defaultOf(name));
    if (this.weight(name) !== weight) this.setWeight(name, weight);
  }

  /** All inputs as the schema has them, and no weights of the user's own. */
  reset() {
    for (const input of INPUTS) if (!this.linked(input)) this.set(input, this.limits(input).default ?? "");
  }
}
