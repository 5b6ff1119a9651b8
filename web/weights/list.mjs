// All rows of the weights panel: one per category, per weight of the user's own, and one for the rest.
import { percent } from "../lib/figures.mjs";
import { colourOf } from "../lib/palette.mjs";
import { element } from "../lib/panel.mjs";
import { preference, SLIDER_STEP } from "../lib/preferences.mjs";
import { regionName, text } from "../lib/text.mjs";
import { MOST } from "./map.mjs";
import { WeightRow } from "./rows.mjs";
import { FALLBACK, inputOf, OWN } from "./values.mjs";

/**
 * @typedef {import("./values.mjs").Effective} Effective
 * @typedef {import("../lib/previews.mjs").Region} Region
 */

/** The node's property with the weights that were set to 0; kept in the workflow. */
const LAST = "semantic_focus_last_weights";
const PREFIX = `${OWN}.`;

/**
 * The category of a row: for the user's own, what comes after the prefix.
 * @param {string} key
 */
function nameOf(key) {
  return isOwn(key) ? key.slice(PREFIX.length) : key;
}

/** @param {string} key */
function isOwn(key) {
  return key.startsWith(PREFIX);
}

/**
 * The share of a picture that a category, or no category, covers.
 * @param {string} name category or FALLBACK
 * @param {Region[] | null} regions
 * @returns {number | null} null: not known
 */
function coverageOf(name, regions) {
  if (!regions) return null;
  if (name !== FALLBACK) return regions.find((region) => region.name === name)?.coverage ?? null;
  return Math.max(0, 1 - regions.reduce((sum, { soft, coverage }) => sum + (soft ? 0 : coverage), 0));
}

export class WeightRows {
  /**
   * @param {any} node
   * @param {import("./values.mjs").WeightValues} values
   * @param {{edit: (change: () => void) => void, moved: () => void, refuse: (why: string) => void}} actions
   */
  constructor(node, values, actions) {
    this.node = node;
    this.values = values;
    this.actions = actions;
    /** @type {Map<string, WeightRow>} */
    this.rows = new Map();
    this.root = element("div", { className: "sf-weight-rows" });
  }

  /** Their keys, from the top; a line of the user's for one of our categories has a row too, to take it out again. */
  get names() {
    const own = Object.keys(this.values.own).map((name) => PREFIX + name);
    return [...this.values.categories, ...own, FALLBACK];
  }

  get fields() {
    return [...this.rows.values()].map(({ number }) => number);
  }

  /**
   * @param {Effective} effective
   * @param {Region[] | null} regions of the picture that is shown
   */
  show(effective, regions) {
    const names = this.names;
    for (const [key, row] of this.rows) {
      if (names.includes(key)) continue;
      row.root.remove();
      this.rows.delete(key);
    }
    for (const [place, key] of names.entries()) {
      const row = this.rows.get(key) ?? this.addRow(key);
      if (this.root.children[place] !== row.root) this.root.insertBefore(row.root, this.root.children[place]);
      row.show(this.stateOf(key, effective, regions));
    }
  }

  /**
   * @param {string} key
   * @param {Effective} effective
   * @param {Region[] | null} regions
   * @returns {import("./rows.mjs").RowState}
   */
  stateOf(key, effective, regions) {
    const own = isOwn(key);
    const name = nameOf(key);
    const region = name === FALLBACK ? "residual" : name;
    const input = own ? OWN : name === FALLBACK ? FALLBACK : inputOf(name);
    const share = coverageOf(name, regions);
    const overruled = !own && this.values.isOwn(name) ? text("weights.ownLine") : "";
    const weight = name === FALLBACK ? effective.fallback : effective.weights[name];
    return {
      name: regionName(region),
      colour: colourOf(region),
      title: own ? text("weights.own") : this.values.tooltip(input),
      weight,
      step: preference(SLIDER_STEP),
      used: effective.enabled,
      fixed: this.values.linked(input) ? text("weights.fromLink") : overruled,
      atDefault: !own && weight === this.values.defaultOf(name),
      coverage: share === null ? "" : percent(share),
    };
  }

  /** @param {string} key */
  addRow(key) {
    const own = isOwn(key);
    const name = nameOf(key);
    const input = key === FALLBACK ? FALLBACK : inputOf(key);
    const limits = own ? { min: 0, max: MOST, typed: Infinity } : this.values.limits(input);
    const set = (value) => (own ? this.values.setOwn(name, value) : this.values.setWeight(name, value));
    const row = new WeightRow(key, limits, {
      change: (value) => {
        set(value);
        this.actions.moved();
      },
      done: () => this.actions.edit(() => {}),
      toggle: () => this.actions.edit(() => this.toggle(key, set)),
      reset: own ? null : () => this.actions.edit(() => this.values.resetWeight(name)),
      remove: own ? () => this.actions.edit(() => this.values.setOwn(name, null)) : null,
      refuse: (why) => this.actions.refuse(why),
    });
    this.rows.set(key, row);
    return row;
  }

  /**
   * To 0, or back to what it was before.
   * @param {string} key
   * @param {(value: number) => void} set
   */
  toggle(key, set) {
    const name = nameOf(key);
    const weight = this.values.weight(name);
    const last = this.node.properties[LAST] ?? {};
    if (weight) this.node.properties[LAST] = { ...last, [key]: weight };
    set(weight ? 0 : (last[key] ?? (this.values.defaultOf(name) || 1)));
  }
}
