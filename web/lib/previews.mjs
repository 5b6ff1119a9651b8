// The segmentations that the nodes of this page reported, and their pixels.
import { api } from "../../../scripts/api.js";
import { graphKey } from "./graph.mjs";
import { putLast } from "./latest.mjs";

/**
 * What a node reports for one picture (nodes/preview.py).
 * @typedef {{name: string, colour: [number, number, number], coverage: number, soft: boolean, score: number | null,
 *   certainty: number | null}} Region
 * @typedef {{picture: Record<string, string>, map: Record<string, string>, width: number, height: number,
 *   regions: Region[], persons: number | null, doubts?: import("./doubts.mjs").Doubt[], chosen: string, backend: string,
 *   cache: string, seconds: number | null, absent?: string, left_out?: string, aside?: string,
 *   by_hand?: string[], place?: Record<string, any> | null, why_not?: string}} Preview `absent`, `left_out` and `aside` of a node that
 *   reads mask files; `place`: by which the server knows whose masks are mended, null where nothing can be kept, and
 *   then `why_not`
 */

const MOST_KEPT = 8;

/** @type {Map<string, Preview[]>} by graph and node; when a run ends at once, the editor's own table misses it */
const reported = new Map();

/** @type {Set<(node: any) => void>} */
const listeners = new Set();

/** @type {Map<string, Promise<ImageData>>} by file name, the latest used last; names are digests of the content */
const pictures = new Map();

/**
 * Keep what a node reported, and tell whoever shows it.
 * @param {any} node
 * @param {Preview[]} previews
 */
export function report(node, previews) {
  if (reported.get(graphKey(node)) === previews) return;
  reported.set(graphKey(node), previews);
  for (const listener of listeners) listener(node);
}

/**
 * @param {any} node
 * @returns {Preview[]} empty when it has not run yet
 */
export function previewsOf(node) {
  return reported.get(graphKey(node)) ?? [];
}

/**
 * Be told of each node that reports; the returned function ends it.
 * @param {(node: any) => void} listener
 * @returns {() => void}
 */
export function onReport(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * The pixels of a file in ComfyUI's temp folder, exactly as they were written.
 * @param {Record<string, string>} reference
 * @returns {Promise<ImageData>} not to be changed: others read the same
 */
export function readPixels(reference) {
  const found = pictures.get(reference.filename) ?? decode(reference);
  putLast(pictures, reference.filename, found, MOST_KEPT);
  found.catch(() => pictures.delete(reference.filename));
  return found;
}

/** @param {Record<string, string>} reference */
async function decode(reference) {
  const response = await api.fetchApi(`/view?${new URLSearchParams(reference)}`);
  if (!response.ok) throw new Error(`${reference.filename}: HTTP ${response.status}`);
  const bitmap = await createImageBitmap(await response.blob(), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
    canvas.getContext("2d", { willReadFrequently: true })
  );
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/**
 * The numbers in one channel of a map, as `spread` in nodes/preview.py wrote them. They are rounded, because browsers
 * that protect against fingerprinting add noise to pixels that are read.
 * @param {ImageData} map
 * @param {0 | 2} channel
 * @param {number} largest
 * @returns {Uint8Array} one number in 0..largest per pixel
 */
function numbersIn(map, channel, largest) {
  const step = Math.max(1, Math.floor(255 / Math.max(largest, 1)));
  const number = Uint8Array.from({ length: 256 }, (_, value) => Math.min(largest, Math.round(value / step)));
  const numbers = new Uint8Array(map.width * map.height);
  for (let pixel = 0, at = channel; pixel < numbers.length; pixel++, at += 4) numbers[pixel] = number[map.data[at]];
  return numbers;
}

/**
 * Which region each pixel belongs to.
 * @param {ImageData} map the pixels of `preview.map`
 * @param {Region[]} regions `preview.regions`
 * @returns {Uint8Array} row by row: 0 no region, else 1 + index in `regions`; soft layers are never in it
 */
export function regionIndices(map, regions) {
  return numbersIn(map, 0, regions.length);
}

/**
 * Which person each pixel belongs to.
 * @param {ImageData} map the pixels of `preview.map`
 * @param {number} persons `preview.persons`
 * @returns {Uint8Array} row by row: 0 nobody, else the person's number from the left
 */
export function personNumbers(map, persons) {
  return numbersIn(map, 2, persons);
}

/**
 * How strong the soft layer (light and shadow) is at each pixel.
 * @param {ImageData} map the pixels of `preview.map`
 * @returns {Uint8Array} row by row, 0..255
 */
export function softStrength(map) {
  const strength = new Uint8Array(map.width * map.height);
  for (let pixel = 0, at = 1; pixel < strength.length; pixel++, at += 4) strength[pixel] = map.data[at];
  return strength;
}
