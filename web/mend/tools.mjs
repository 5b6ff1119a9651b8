// What the pointer and the keys do to the masks: brush, eraser, fill, whole region, outline.
import { alikeAt, fillPolygon, give, personsRegionAt, pieceAt } from "./areas.mjs";
import { Stroke } from "./strokes.mjs";
import { restore, store } from "../lib/session.mjs";

/**
 * @typedef {import("./session.mjs").Session} Session
 * @typedef {import("./layers.mjs").Box} Box
 * @typedef {{x: number, y: number, pressure?: number}} Point in pixels of the picture; pressure 0..1 of a pen
 * @typedef {{shiftKey: boolean, altKey: boolean}} Keys
 */

/** The tools in their order; `key` chooses one. */
export const TOOLS = /** @type {const} */ ([
  { id: "brush", key: "b" },
  { id: "eraser", key: "e" },
  { id: "fill", key: "g" },
  { id: "outline", key: "o" },
  { id: "whole", key: "w" },
]);

export const LEAST_SIZE = 1;
export const MOST_SIZE = 600; // pixels of the picture, across
const FAINTEST_PRESS = 0.15; // of the size, with a pen that hardly touches
const STORE = "semantic_focus.mend";
const USUAL = { tool: "brush", size: 60, hardness: 0.8, tolerance: 0.35, snaps: false, opacity: 0.55 };

export class Tools {
  /**
   * @param {Session} session
   * @param {() => ImageData | null} pixels of the picture
   * @param {() => void} changed
   */
  constructor(session, pixels, changed) {
    this.session = session;
    this.pixels = pixels;
    this.changed = changed;
    this.settings = { ...USUAL, ...restore(STORE, {}) };
    /** @type {Stroke | null} */
    this.stroke = null;
    /** @type {Point | null} where the last stroke ended */
    this.last = null;
    /** @type {Point[]} corners of the outline that is being drawn */
    this.corners = [];
  }

  /** @param {Partial<typeof USUAL>} settings */
  set(settings) {
    this.settings = { ...this.settings, ...settings };
    if (settings.tool && settings.tool !== "outline") this.corners = [];
    store(STORE, this.settings);
    this.changed();
  }

  get tool() {
    return this.settings.tool;
  }

  /** Whether the tool is as large as its ring. */
  get hasSize() {
    return this.tool === "brush" || this.tool === "eraser";
  }

  /** @param {number} steps larger or, when negative, smaller */
  resize(steps) {
    const { size } = this.settings;
    const by = Math.max(1, Math.round(size * 0.12));
    this.set({ size: Math.max(LEAST_SIZE, Math.min(MOST_SIZE, size + steps * by)) });
  }

  /** @param {number} by */
  harden(by) {
    this.set({ hardness: Math.max(0, Math.min(1, Math.round(20 * (this.settings.hardness + by)) / 20)) });
  }

  /** @param {number} by */
  tolerate(by) {
    this.set({ tolerance: Math.max(0, Math.min(1, Math.round(20 * (this.settings.tolerance + by)) / 20)) });
  }

  /** Another picture: nothing of the last one is meant. */
  reset() {
    this.stroke = null;
    this.last = null;
    this.corners = [];
  }

  /**
   * The pointer, or the key, goes down.
   * @param {Point} point
   * @param {Keys} keys
   */
  press(point, keys) {
    const { layers } = this.session;
    if (!layers || this.session.label < 0) return;
    const isInside = point.x >= 0 && point.y >= 0 && point.x < layers.width && point.y < layers.height;
    if (this.hasSize) this.#startStroke(point, keys);
    else if (this.tool === "outline") this.#corner(point);
    else if (isInside) this.#area(point, keys);
  }

  /**
   * @param {Point} point
   * @param {Keys} keys
   */
  #startStroke(point, { shiftKey, altKey }) {
    const { layers, history, label } = this.session;
    if (!layers || !history) return;
    history.begin();
    const erases = (this.tool === "eraser") !== altKey;
    this.stroke = new Stroke(layers, history, { label, erases, hardness: this.settings.hardness });
    if (shiftKey && this.last) this.move([this.last]);
    this.move([point]);
  }

  /**
   * The pointer has moved while it is down.
   * @param {Point[]} points
   */
  move(points) {
    const { stroke, session } = this;
    if (!stroke || stroke.layers !== session.layers) return;
    for (const { x, y, pressure } of points) {
      const radius = (this.settings.size / 2) * (pressure === undefined ? 1 : Math.max(FAINTEST_PRESS, pressure));
      const box = stroke.to({ x, y, radius });
      if (box) session.listener.draw(box);
      this.last = { x, y };
    }
  }

  /** The pointer goes up. */
  release() {
    const { stroke, session } = this;
    this.stroke = null;
    if (!stroke || stroke.layers !== session.layers) return;
    const changed = session.history?.commit();
    session.did();
    if (changed && this.settings.snaps) session.snap(stroke);
  }

  /** What was begun is not meant. @returns {boolean} whether there was anything */
  cancel() {
    const { session } = this;
    if (this.stroke) {
      this.stroke = null;
      const box = session.history?.abandon();
      if (box) session.listener.draw(box);
      return true;
    }
    const had = this.corners.length > 0;
    this.corners = [];
    this.changed();
    return had;
  }

  /**
   * @param {Point} point
   * @param {Keys} keys
   */
  #area({ x, y }, { shiftKey }) {
    const { session } = this;
    const { layers, history, label } = session;
    if (!layers || !history) return;
    const at = Math.floor(y) * layers.width + Math.floor(x);
    const area = this.tool === "fill" ? this.#alike(at) : shiftKey ? personsRegionAt(layers, at) : pieceAt(layers, at);
    if (!area) return;
    history.begin();
    const box = give(layers, history, area, label);
    history.commit();
    session.did(box);
    if (!box) session.say("isThat");
  }

  /** @param {number} at */
  #alike(at) {
    const pixels = this.pixels();
    const { layers } = this.session;
    return pixels && layers && alikeAt(layers, pixels, at, this.settings.tolerance);
  }

  /** @param {Point} point */
  #corner(point) {
    this.corners.push(point);
    this.changed();
  }

  /** Forget the last corner. */
  dropCorner() {
    this.corners.pop();
    this.changed();
  }

  /**
   * Fill the outline; with Alt, erase it.
   * @param {{altKey: boolean}} keys
   */
  closeOutline({ altKey }) {
    const { session, corners } = this;
    const { layers, history, label } = session;
    if (corners.length < 3 || !layers || !history) return;
    this.corners = [];
    history.begin();
    const box = fillPolygon(layers, history, corners, { label, erases: altKey });
    const changed = history.commit();
    session.did(box);
    if (changed && this.settings.snaps) session.snap({ box });
    this.changed();
  }

  /** Choose the region that is at a place. @param {Point} point */
  pick({ x, y }) {
    const { layers } = this.session;
    if (!layers || x < 0 || y < 0 || x >= layers.width || y >= layers.height) return;
    const region = layers.strongest(Math.floor(y) * layers.width + Math.floor(x));
    if (region >= 0) this.session.choose(layers.labels[region].name);
  }
}
