// The part of a picture that is sent to the server when edges are looked for.
import { clipped, joined } from "./layers.mjs";

/**
 * @typedef {import("./layers.mjs").Layers} Layers
 * @typedef {import("./layers.mjs").Box} Box
 */

/** Around what a person did: edges lie beside it. */
const MARGIN = 16; // pixels
const NOWHERE = { left: 0, top: 0, right: 0, bottom: 0 };

/**
 * The part of the picture in which a region's edges are looked for.
 * @param {Layers} layers
 * @param {number} label
 * @param {Box | null} box of a stroke; null: wherever the region is
 * @returns {Box} empty when it is nowhere
 */
export function windowOf(layers, label, box) {
  const { left, top, right, bottom } = box ?? boxOf(layers, label) ?? NOWHERE;
  if (right <= left) return NOWHERE;
  return clipped({ left: left - MARGIN, top: top - MARGIN, right: right + MARGIN, bottom: bottom + MARGIN }, layers);
}

/**
 * @param {Layers} layers
 * @param {number} label
 * @returns {Box | null} of what the label has
 */
function boxOf({ width, height, values }, label) {
  let box = null;
  for (let y = 0; y < height; y++) {
    const row = values[label].subarray(y * width, (y + 1) * width);
    const left = row.findIndex((value) => value > 0);
    if (left < 0) continue;
    let right = width;
    while (!row[right - 1]) right--;
    box = joined(box, { left, top: y, right, bottom: y + 1 });
  }
  return box;
}

/**
 * The values of a region in a window.
 * @param {Layers} layers
 * @param {number} label
 * @param {Box} window
 * @returns {Uint8Array} row by row
 */
export function cut({ width, values }, label, { left, top, right, bottom }) {
  const plain = new Uint8Array((right - left) * (bottom - top));
  for (let y = top; y < bottom; y++) {
    plain.set(values[label].subarray(y * width + left, y * width + right), (y - top) * (right - left));
  }
  return plain;
}
