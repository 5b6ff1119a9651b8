// What was done, step by step, to be undone and done again. A step keeps the tiles that it changed, as runs of equal
// pixels, and only of the labels that it changed: a brush stroke takes kilobytes, whatever the picture's size.
import { clipped, isEmpty, joined } from "./layers.mjs";

/**
 * @typedef {import("./layers.mjs").Layers} Layers
 * @typedef {import("./layers.mjs").Box} Box
 * @typedef {Map<number, Uint16Array>} Snapshot by tile: what the hand said of all labels, one after the other
 * @typedef {{tile: number, label: number, runs: Uint16Array}} Piece
 * @typedef {{pieces: Piece[], bytes: number}} Step what was there before it, or, once it is undone, after it
 */

const TILE = 64; // pixels, each way
const AREA = TILE * TILE;
/** Steps that are kept in any case, and the bytes that others may take beside them. */
const LEAST_STEPS = 64;
const MOST_BYTES = 96 * 2 ** 20;
/** A step that alone takes more makes room for itself, whatever the number. */
const HARD_BYTES = 384 * 2 ** 20;

export class History {
  /** @param {Layers} layers */
  constructor(layers) {
    this.layers = layers;
    this.columns = Math.ceil(layers.width / TILE);
    /** @type {Step[]} */
    this.done = [];
    /** @type {Step[]} */
    this.undone = [];
    /** @type {Snapshot | null} of the step that is being made */
    this.step = null;
    /** @type {Snapshot} what the tiles that were touched since the last save held then */
    this.base = new Map();
    /** counts up and down with the steps: where it was saved, nothing is unsaved */
    this.version = 0;
    this.versions = 0;
    /** @type {number[]} the versions before the steps that are done, and after those that are undone */
    this.before = [];
    this.after = [];
  }

  /** Begin a step, or go on with the one that is being made. */
  begin() {
    this.step ??= new Map();
  }

  /**
   * Keep what is in a box before it is changed.
   * @param {Box} box
   */
  touch(box) {
    const { left, top, right, bottom } = clipped(box, this.layers);
    if (isEmpty({ left, top, right, bottom }) || !this.step) return;
    for (let row = Math.floor(top / TILE); row * TILE < bottom; row++) {
      for (let column = Math.floor(left / TILE); column * TILE < right; column++) {
        const tile = row * this.columns + column;
        if (this.step.has(tile)) continue;
        const held = this.#read(tile);
        this.step.set(tile, held);
        if (!this.base.has(tile)) this.base.set(tile, held);
      }
    }
  }

  /**
   * End the step.
   * @param {boolean} [joins] whether it is undone together with the one before it
   * @returns {boolean} whether it changed anything
   */
  commit(joins = false) {
    const made = this.#packed(this.step ?? new Map());
    this.step = null;
    if (!made.pieces.length) return false;
    const last = joins ? this.done.pop() : undefined;
    if (last) {
      const known = new Set(last.pieces.map(keyOf));
      const fresh = made.pieces.filter((piece) => !known.has(keyOf(piece)));
      this.done.push(stepOf([...last.pieces, ...fresh]));
    } else {
      this.done.push(made);
      this.before.push(this.version);
    }
    this.version = ++this.versions;
    this.undone = [];
    this.after = [];
    this.#forget();
    return true;
  }

  /** Take back what the step that is being made has changed so far. @returns {Box | null} where */
  abandon() {
    const step = this.step;
    this.step = null;
    let box = null;
    for (const [tile, held] of step ?? []) {
      this.#write(tile, this.#read(tile), held);
      box = joined(box, this.#boxOf(tile));
    }
    return box;
  }

  /** @returns {Box | null} what changed; null: there was nothing to undo */
  undo() {
    return this.#move(this.done, this.undone, this.before, this.after);
  }

  /** @returns {Box | null} what changed; null: there was nothing to do again */
  redo() {
    return this.#move(this.undone, this.done, this.after, this.before);
  }

  /**
   * @param {Step[]} from
   * @param {Step[]} to
   * @param {number[]} versions
   * @param {number[]} others
   */
  #move(from, to, versions, others) {
    const step = from.pop();
    if (!step) return null;
    let box = null;
    /** @type {Piece[]} */
    const pieces = [];
    for (const [tile, mine] of byTile(step.pieces)) {
      const now = this.#read(tile);
      if (!this.base.has(tile)) this.base.set(tile, now);
      const wanted = now.slice();
      for (const { label, runs } of mine) {
        pieces.push({ tile, label, runs: packed(now.subarray(label * AREA, (label + 1) * AREA)) });
        unpack(runs, wanted.subarray(label * AREA, (label + 1) * AREA));
      }
      this.#write(tile, now, wanted);
      box = joined(box, this.#boxOf(tile));
    }
    to.push(stepOf(pieces));
    others.push(this.version);
    this.version = /** @type {number} */ (versions.pop());
    return box;
  }

  /**
   * What has changed since the last save.
   * @param {Snapshot} [base]
   * @returns {Set<number>} labels
   */
  changed(base = this.base) {
    const changed = new Set();
    for (const [tile, held] of base) {
      const now = this.#read(tile);
      this.layers.labels.forEach((_, label) => {
        if (changed.has(label)) return;
        for (let at = label * AREA; at < (label + 1) * AREA; at++) {
          if (held[at] !== now[at]) return changed.add(label);
        }
      });
    }
    return changed;
  }

  /**
   * Everything that the hand said since the last save, pixel by pixel.
   * @param {(at: number, own: {label: number, hand: number}[]) => void} tell
   */
  eachOwn(tell) {
    const { layers } = this;
    for (const [tile, held] of this.base) {
      const { left, top, right, bottom } = this.#boxOf(tile);
      for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++) {
          const at = y * layers.width + x;
          const inTile = (y - top) * TILE + (x - left);
          const own = layers.labels.flatMap((_, label) => {
            const hand = layers.hand[label][at];
            return held[label * AREA + inTile] === hand ? [] : [{ label, hand }];
          });
          if (own.length) tell(at, own);
        }
      }
    }
  }

  /** What a save is about to write is not unsaved any more. @returns {Snapshot} for `unsaved`, should it fail */
  saving() {
    const base = this.base;
    this.base = new Map();
    // a step that is being made has kept its tiles already, and will not do so again
    for (const tile of this.step?.keys() ?? []) this.base.set(tile, this.#read(tile));
    return base;
  }

  /** The save did not happen. @param {Snapshot} base */
  unsaved(base) {
    for (const [tile, held] of base) this.base.set(tile, held); // older than what is there
  }

  /** @param {number} tile @returns {Box} */
  #boxOf(tile) {
    const [left, top] = [(tile % this.columns) * TILE, Math.floor(tile / this.columns) * TILE];
    return clipped({ left, top, right: left + TILE, bottom: top + TILE }, this.layers);
  }

  /** @param {number} tile @returns {Uint16Array} */
  #read(tile) {
    const { hand, width } = this.layers;
    const { left, top, right, bottom } = this.#boxOf(tile);
    const held = new Uint16Array(hand.length * AREA);
    hand.forEach((plane, label) => {
      for (let y = top, to = label * AREA; y < bottom; y++, to += TILE) {
        held.set(plane.subarray(y * width + left, y * width + right), to);
      }
    });
    return held;
  }

  /**
   * @param {number} tile
   * @param {Uint16Array} now what it holds, of all labels
   * @param {Uint16Array} wanted
   */
  #write(tile, now, wanted) {
    const { layers } = this;
    const { left, top, right, bottom } = this.#boxOf(tile);
    const count = layers.labels.length;
    for (let y = top; y < bottom; y++) {
      for (let x = left, place = (y - top) * TILE; x < right; x++, place++) {
        const at = y * layers.width + x;
        let part = -1;
        for (let label = 0, from = place; label < count; label++, from += AREA) {
          if (now[from] === wanted[from]) continue;
          layers.hand[label][at] = wanted[from];
          if (layers.labels[label].part) part = label;
          else layers.settle(at, label);
        }
        if (part >= 0) layers.settle(at, part);
      }
    }
  }

  /** @param {Snapshot} snapshot @returns {Step} of what differs from it now */
  #packed(snapshot) {
    /** @type {Piece[]} */
    const pieces = [];
    for (const [tile, held] of snapshot) {
      const now = this.#read(tile);
      this.layers.labels.forEach((_, label) => {
        for (let at = label * AREA; at < (label + 1) * AREA; at++) {
          if (held[at] === now[at]) continue;
          pieces.push({ tile, label, runs: packed(held.subarray(label * AREA, (label + 1) * AREA)) });
          return;
        }
      });
    }
    return stepOf(pieces);
  }

  /** Drop the oldest steps when they take too much memory. */
  #forget() {
    let bytes = this.done.reduce((sum, step) => sum + step.bytes, 0);
    while (this.done.length > 1 && (bytes > HARD_BYTES || (bytes > MOST_BYTES && this.done.length > LEAST_STEPS))) {
      bytes -= /** @type {Step} */ (this.done.shift()).bytes;
      this.before.shift();
    }
  }
}

/** @param {Piece} piece */
const keyOf = ({ tile, label }) => `${tile} ${label}`;

/** @param {Piece[]} pieces @returns {Step} */
function stepOf(pieces) {
  return { pieces, bytes: pieces.reduce((sum, { runs }) => sum + runs.byteLength + 64, 0) };
}

/** @param {Piece[]} pieces @returns {Map<number, Piece[]>} */
function byTile(pieces) {
  const found = new Map();
  for (const piece of pieces) {
    if (!found.has(piece.tile)) found.set(piece.tile, []);
    found.get(piece.tile).push(piece);
  }
  return found;
}

const runsOfOne = new Uint16Array(2 * AREA); // the most that a tile takes

/** @param {Uint16Array} plain @returns {Uint16Array} pairs of length and value */
function packed(plain) {
  let to = 0;
  for (let at = 0; at < plain.length; ) {
    const value = plain[at];
    let end = at + 1;
    while (end < plain.length && plain[end] === value) end++;
    runsOfOne[to++] = end - at;
    runsOfOne[to++] = value;
    at = end;
  }
  return runsOfOne.slice(0, to);
}

/**
 * @param {Uint16Array} runs
 * @param {Uint16Array} into
 */
function unpack(runs, into) {
  for (let at = 0, to = 0; at < runs.length; at += 2) {
    into.fill(runs[at + 1], to, to + runs[at]);
    to += runs[at];
  }
}
