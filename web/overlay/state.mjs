// What a node's mask overlay shows: the pictures it reported, and how the user wants to see them.
import { undoable, widgetOf } from "../lib/panel.mjs";
import { OPACITY, preference } from "../lib/preferences.mjs";

/** @typedef {import("../lib/previews.mjs").Preview} Preview */

// lighting overlaps the others and would hide them: off until asked for
const DEFAULT_HIDDEN = ["lighting"];

/** Shared by the panel in the node and the large one; how it is seen is kept in the workflow. */
export class OverlayState {
  /** @param {any} node */
  constructor(node) {
    this.node = node;
    /** @type {Preview[]} */
    this.previews = [];
    this.page = 0;
    /** @type {string | null} why the last run of the node ended */
    this.failure = null;
    /** whether masks were mended since the node ran */
    this.mended = false;
    /** the node's own setting, where it has one */
    this.opacityWidget = widgetOf(node, "opacity");
    /** @type {number | null} while a slider is being dragged */
    this.dragged = null;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /**
   * Be told of each change; the returned function ends it.
   * @param {() => void} listener
   */
  onChange(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  /** @returns {Preview | undefined} */
  get preview() {
    return this.previews[this.page];
  }

  /** @param {Preview[]} previews */
  take(previews) {
    if (previews === this.previews || !previews.length) return;
    this.previews = previews;
    this.mended = false;
    this.turnTo(Math.min(this.page, previews.length - 1));
  }

  /** The masks are others than those that are shown. */
  noteMended() {
    this.mended = true;
    this.changed();
  }

  /** @param {number} page any number: after the last picture comes the first */
  turnTo(page) {
    const count = this.previews.length;
    if (!count) return;
    this.page = ((page % count) + count) % count;
    this.changed();
  }

  /** @param {string | null} failure */
  fail(failure) {
    if (failure === this.failure) return;
    this.failure = failure;
    this.changed();
  }

  /** @returns {Set<string>} names of the regions that are not shown */
  get hidden() {
    return new Set(this.node.properties.semantic_focus_hidden ?? DEFAULT_HIDDEN);
  }

  /** Regions over the picture as lines. */
  get outline() {
    return Boolean(this.node.properties.semantic_focus_outline);
  }

  /** Persons told apart. */
  get persons() {
    return this.node.properties.semantic_focus_persons !== false;
  }

  /** 0..1 */
  get opacity() {
    const { semantic_focus_opacity: own } = this.node.properties;
    return Number(this.opacityWidget?.value ?? this.dragged ?? own ?? preference(OPACITY));
  }

  /** @param {Iterable<string>} names */
  hide(names) {
    this.#set("semantic_focus_hidden", [...names]);
  }

  /** @param {string} name */
  toggle(name) {
    const hidden = this.hidden;
    if (!hidden.delete(name)) hidden.add(name);
    this.hide(hidden);
  }

  /**
   * Show one region only; all of them when it is the only one already.
   * @param {string} name
   */
  solo(name) {
    const others = this.preview?.regions.map((region) => region.name).filter((other) => other !== name) ?? [];
    const hidden = this.hidden;
    const isSolo = !hidden.has(name) && others.every((other) => hidden.has(other));
    this.hide(isSolo ? [] : others);
  }

  /**
   * Show or hide a region that was clicked; with Alt or Shift, show it only.
   * @param {string} name
   * @param {MouseEvent} click
   */
  choose(name, { altKey, shiftKey }) {
    if (altKey || shiftKey) this.solo(name);
    else this.toggle(name);
  }

  /** @param {boolean} on */
  setOutline(on) {
    this.#set("semantic_focus_outline", on);
  }

  /** @param {boolean} on */
  setPersons(on) {
    this.#set("semantic_focus_persons", on);
  }

  /** @param {number | null} opacity for now; null is the one that was set */
  dragOpacity(opacity) {
    this.dragged = opacity;
    this.changed();
  }

  /** @param {number} opacity */
  setOpacity(opacity) {
    this.dragged = null;
    this.#set("semantic_focus_opacity", opacity);
  }

  #set(name, value) {
    undoable(() => (this.node.properties[name] = value));
    this.changed();
  }
}
