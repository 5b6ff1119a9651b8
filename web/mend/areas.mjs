// Whole areas at once: a connected piece of a region, the colours alike within it, the region of one person, an outline.
import { clipped, isEmpty } from "./layers.mjs";
import { applyAt } from "./strokes.mjs";

/**
 * @typedef {import("./layers.mjs").Layers} Layers
 * @typedef {import("./layers.mjs").Box} Box
 * @typedef {import("./history.mjs").History} History
 * @typedef {{inside: Uint8Array, box: Box}} Area 1 for each pixel that is in it, row by row
 */

const NOTHING = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
/** How far beyond a region's own pixels its soft border is looked for. */
const BORDER = 32; // pixels
/** Less of a region is not taken for its border. */
const TRACE = 3;
/** More that a border may gain from pixel to pixel, and still fade. */
const RISE = 2;

/**
 * All pixels that can be reached from one.
 * @param {Layers} layers
 * @param {number} start
 * @param {(at: number) => boolean} allowed
 * @param {Uint8Array} [inside] 1 where nothing more is looked for; changed
 * @returns {Area & {pixels: number[]}}
 */
function reached({ width, height }, start, allowed, inside = new Uint8Array(width * height)) {
  const pixels = [start];
  const box = { ...NOTHING };
  const look = (at) => {
    if (inside[at] || !allowed(at)) return;
    inside[at] = 1;
    pixels.push(at);
  };
  inside[start] = 1;
  for (let next = 0; next < pixels.length; next++) {
    const at = pixels[next];
    const x = at % width;
    const y = (at - x) / width;
    grow(box, x, y);
    if (x > 0) look(at - 1);
    if (x + 1 < width) look(at + 1);
    if (y > 0) look(at - width);
    if (y + 1 < height) look(at + width);
  }
  return { inside, box, pixels };
}

/** @param {Box} box @param {number} x @param {number} y */
function grow(box, x, y) {
  if (x < box.left) box.left = x;
  if (y < box.top) box.top = y;
  if (x >= box.right) box.right = x + 1;
  if (y >= box.bottom) box.bottom = y + 1;
}

/**
 * Take the soft border of a region into an area of it: outwards, as long as it fades.
 * @param {Layers} layers
 * @param {Area} area changed
 * @param {number} region
 */
function withBorder(layers, { inside, box }, region) {
  if (region < 0) return;
  const { width, height } = layers;
  const values = layers.values[region];
  /** @param {number} at @param {(beside: number) => void} visit */
  const around = (at, visit) => {
    const x = at % width;
    if (x > 0) visit(at - 1);
    if (x + 1 < width) visit(at + 1);
    if (at >= width) visit(at - width);
    if (at + width < width * height) visit(at + width);
  };
  let edge = [];
  for (let y = box.top; y < box.bottom; y++) {
    for (let at = y * width + box.left; at < y * width + box.right; at++) {
      if (inside[at]) around(at, (beside) => inside[beside] || edge.at(-1) === at || edge.push(at));
    }
  }
  for (let step = 0; step < BORDER && edge.length; step++) {
    const next = [];
    for (const at of edge) {
      around(at, (beside) => {
        const value = values[beside];
        if (inside[beside] || value < TRACE || value > values[at] + RISE || layers.strongest(beside) === region) return;
        inside[beside] = 1;
        grow(box, beside % width, Math.floor(beside / width));
        next.push(beside);
      });
    }
    edge = next;
  }
}

/**
 * The connected piece of the region at a pixel, with its soft border.
 * @param {Layers} layers
 * @param {number} start
 * @returns {Area & {region: number}}
 */
export function pieceAt(layers, start) {
  const region = layers.strongest(start);
  const area = reached(layers, start, (at) => layers.strongest(at) === region);
  withBorder(layers, area, region);
  return { ...area, region };
}

/**
 * The whole region at a pixel, of the person who is there; without a person everything of the region that is nobody's.
 * @param {Layers} layers
 * @param {number} start
 * @returns {Area & {region: number}}
 */
export function personsRegionAt(layers, start) {
  const region = layers.strongest(start);
  const person = layers.persons[start];
  const inside = new Uint8Array(layers.width * layers.height);
  const box = { ...NOTHING };
  for (let at = 0; at < inside.length; at++) {
    if (layers.persons[at] !== person || layers.strongest(at) !== region) continue;
    inside[at] = 1;
    grow(box, at % layers.width, Math.floor(at / layers.width));
  }
  withBorder(layers, { inside, box }, region);
  return { inside, box, region };
}

/** Luma and the two differences of colour; shade matters less than colour. */
const SHADE = 0.35;
/** A hole of this share of an area belongs to it. */
const SMALL = 0.02;

/**
 * @param {Uint8ClampedArray} data
 * @param {number} at
 * @returns {[number, number, number]}
 */
function look(data, at) {
  const [red, green, blue] = [data[4 * at], data[4 * at + 1], data[4 * at + 2]];
  const light = 0.299 * red + 0.587 * green + 0.114 * blue;
  return [SHADE * light, red - light, blue - light];
}

/**
 * What is alike in colour around a pixel, within the edges of its region.
 * @param {Layers} layers
 * @param {ImageData} picture
 * @param {number} start
 * @param {number} tolerance 0..1; 1 is everything within the edges
 * @returns {Area & {region: number}}
 */
export function alikeAt(layers, picture, start, tolerance) {
  if (tolerance >= 1) return pieceAt(layers, start);
  const region = layers.strongest(start);
  const { data } = picture;
  const wanted = meanLook(layers, data, start);
  const most = (200 * tolerance ** 1.5) ** 2;
  const alike = (at) => {
    const [light, red, blue] = look(data, at);
    return (light - wanted[0]) ** 2 + (red - wanted[1]) ** 2 + (blue - wanted[2]) ** 2 <= most;
  };
  const area = reached(layers, start, (at) => layers.strongest(at) === region && alike(at));
  closeHoles(layers, area, region, area.pixels.length * SMALL);
  withBorder(layers, area, region);
  return { ...area, region };
}

/**
 * @param {Layers} layers
 * @param {Uint8ClampedArray} data
 * @param {number} start
 */
function meanLook({ width, height }, data, start) {
  const [x, y] = [start % width, Math.floor(start / width)];
  const { left, top, right, bottom } = clipped({ left: x - 2, top: y - 2, right: x + 3, bottom: y + 3 }, { width, height });
  const sum = [0, 0, 0];
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      look(data, row * width + column).forEach((value, channel) => (sum[channel] += value));
    }
  }
  return sum.map((value) => value / ((right - left) * (bottom - top)));
}

/**
 * Take the small pieces of the same region that an area leaves out: grain and folds of a picture.
 * @param {Layers} layers
 * @param {Area} area changed
 * @param {number} region
 * @param {number} most pixels of a piece
 */
function closeHoles(layers, { inside, box }, region, most) {
  const { width } = layers;
  const seen = inside.slice();
  const rest = (at) => layers.strongest(at) === region;
  for (let y = box.top; y < box.bottom; y++) {
    for (let at = y * width + box.left; at < y * width + box.right; at++) {
      if (seen[at] || !rest(at)) continue;
      const { pixels } = reached(layers, at, rest, seen);
      if (pixels.length <= most) for (const pixel of pixels) inside[pixel] = 1;
    }
  }
}

/**
 * Give an area of one region to another.
 * @param {Layers} layers
 * @param {History} history in which a step has begun
 * @param {Area & {region: number}} area
 * @param {number} label
 * @returns {Box | null} what changed
 */
export function give(layers, history, { inside, box, region }, label) {
  if (region === label || isEmpty(box)) return null;
  history.touch(box);
  for (let y = box.top; y < box.bottom; y++) {
    for (let at = y * layers.width + box.left; at < y * layers.width + box.right; at++) {
      if (inside[at]) layers.relabel(at, region, label);
    }
  }
  return box;
}

/**
 * Fill or erase what lies in a polygon.
 * @param {Layers} layers
 * @param {History} history in which a step has begun
 * @param {{x: number, y: number}[]} points
 * @param {{label: number, erases: boolean}} how
 * @returns {Box | null} what changed
 */
export function fillPolygon(layers, history, points, { label, erases }) {
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const box = clipped(
    { left: Math.min(...xs), top: Math.min(...ys), right: Math.max(...xs) + 1, bottom: Math.max(...ys) + 1 },
    layers,
  );
  if (isEmpty(box)) return null;
  history.touch(box);
  const [width, height] = [box.right - box.left, box.bottom - box.top];
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
    new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })
  );
  context.beginPath();
  for (const { x, y } of points) context.lineTo(x - box.left, y - box.top);
  context.closePath();
  context.fill();
  const { data } = context.getImageData(0, 0, width, height);
  for (let y = 0, from = 3; y < height; y++) {
    for (let x = 0; x < width; x++, from += 4) {
      // browsers that hide who uses them change what is read by a little
      const strength = data[from] > 250 ? 255 : data[from];
      if (strength > 4) applyAt(layers, (box.top + y) * layers.width + box.left + x, label, strength, erases);
    }
  }
  return box;
}
