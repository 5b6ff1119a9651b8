// What a brush covers, and what becomes of the masks there.
import { clipped, isEmpty, joined } from "./layers.mjs";

/**
 * @typedef {import("./layers.mjs").Layers} Layers
 * @typedef {import("./layers.mjs").Box} Box
 * @typedef {import("./history.mjs").History} History
 * @typedef {{x: number, y: number, radius: number}} Dab in pixels of the picture
 */

const FULL = 255;
/** From this strength on the hand also says that a pixel is as it is already. */
const SURE = 128;

/**
 * Let the hand paint or erase a label at a pixel.
 * @param {Layers} layers
 * @param {number} at
 * @param {number} label
 * @param {number} strength 1..255
 * @param {boolean} erases
 */
export function applyAt(layers, at, label, strength, erases) {
  const said = layers.hand[label][at];
  if (said === (erases ? 1 : 1 + FULL)) return;
  const was = layers.values[label][at];
  const value = erases ? Math.min(was, FULL - strength) : Math.max(was, strength);
  if (said === 1 + value || (value === was && strength < SURE)) return;
  if (erases && !layers.canGiveBack(at, label)) return;
  layers.say(at, label, value);
}

/** One stroke of the brush or the eraser. */
export class Stroke {
  /**
   * @param {Layers} layers
   * @param {History} history in which a step has begun
   * @param {{label: number, erases: boolean, hardness: number}} how hardness 0..1
   */
  constructor(layers, history, { label, erases, hardness }) {
    this.layers = layers;
    this.history = history;
    this.label = label;
    this.erases = erases;
    this.hardness = hardness;
    /** @type {Dab[]} where it has been */
    this.path = [];
    /** @type {Box | null} all that it has covered */
    this.box = null;
  }

  /**
   * Go on to a place.
   * @param {Dab} to
   * @returns {Box | null} what changed
   */
  to(to) {
    const from = this.path.at(-1) ?? to;
    this.path.push(to);
    const distance = Math.hypot(to.x - from.x, to.y - from.y);
    // a long diagonal has a large box with little in it
    const pieces = Math.max(1, Math.ceil(distance / (2 * Math.max(4, from.radius, to.radius))));
    let box = null;
    for (let piece = 0; piece < pieces; piece++) {
      box = joined(box, this.#capsule(between(from, to, piece / pieces), between(from, to, (piece + 1) / pieces)));
    }
    this.box = joined(this.box, box);
    return box;
  }

  /**
   * @param {Dab} from
   * @param {Dab} to
   * @returns {Box | null}
   */
  #capsule(from, to) {
    const { layers, label, erases, hardness } = this;
    const box = clipped(around(from, to), layers);
    if (isEmpty(box)) return null;
    this.history.touch(box);
    cover(box, layers.width, from, to, hardness, (at, strength) => applyAt(layers, at, label, strength, erases));
    return box;
  }

  /**
   * Where the stroke was, and a little around it.
   * @param {Box} box
   * @param {number} margin pixels
   * @returns {Uint8Array} 1 for each pixel of the box that is near to it, row by row
   */
  near(box, margin) {
    const [width, height] = [box.right - box.left, box.bottom - box.top];
    const near = new Uint8Array(width * height);
    const shifted = this.path.map(({ x, y, radius }) => ({ x: x - box.left, y: y - box.top, radius: radius + margin }));
    shifted.forEach((dab, place) => {
      const from = shifted[Math.max(0, place - 1)];
      const part = clipped(around(from, dab), { width, height });
      cover(part, width, from, dab, 1, (at) => (near[at] = 1));
    });
    return near;
  }
}

/**
 * @param {Dab} from
 * @param {Dab} to
 * @returns {Box} of all that is near to a line
 */
function around(from, to) {
  const reach = Math.max(from.radius, to.radius) + 0.5;
  return {
    left: Math.min(from.x, to.x) - reach,
    top: Math.min(from.y, to.y) - reach,
    right: Math.max(from.x, to.x) + reach,
    bottom: Math.max(from.y, to.y) + reach,
  };
}

/**
 * Visit every pixel of a box that is near to a line.
 * @param {Box} box
 * @param {number} width of the picture
 * @param {Dab} from
 * @param {Dab} to
 * @param {number} hardness 0..1
 * @param {(at: number, strength: number) => void} visit strength 1..255
 */
function cover(box, width, from, to, hardness, visit) {
  const radius = Math.max(from.radius, to.radius);
  const reach = radius + 0.5;
  const fall = Math.max(1, radius * (1 - hardness)); // pixels from full strength to none
  const sure = Math.max(0, reach - fall) ** 2;
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  for (let y = box.top; y < box.bottom; y++) {
    const py = y + 0.5 - from.y;
    const row = y * width;
    for (let x = box.left; x < box.right; x++) {
      const px = x + 0.5 - from.x;
      const along = length ? Math.max(0, Math.min(1, (px * dx + py * dy) / length)) : 0;
      const square = (px - along * dx) ** 2 + (py - along * dy) ** 2;
      if (square >= reach * reach) continue;
      const strength = square <= sure ? FULL : Math.round((FULL * (reach - Math.sqrt(square))) / fall);
      if (strength > 0) visit(row + x, Math.min(FULL, strength));
    }
  }
}

/**
 * @param {Dab} from
 * @param {Dab} to
 * @param {number} share
 * @returns {Dab}
 */
function between(from, to, share) {
  return {
    x: from.x + (to.x - from.x) * share,
    y: from.y + (to.y - from.y) * share,
    radius: from.radius + (to.radius - from.radius) * share,
  };
}
