// What the server is asked while masks are mended. All that is kept is kept there.
import { api } from "../../../scripts/api.js";
import { post } from "../lib/server.mjs";

/**
 * Which picture is meant: the server gave it, and is given it back.
 * @typedef {Record<string, any>} Place
 * @typedef {import("./layers.mjs").Label} Label
 * @typedef {import("./layers.mjs").Box} Box
 * @typedef {import("../lib/doubts.mjs").Doubt} Doubt
 * @typedef {{width: number, height: number, stamp: any, labels: Label[], persons: number, by_hand: string[],
 *   doubts: Doubt[], file: string, conflict?: boolean}} Opened what the server knows of a picture's masks
 */

const STAMP = "X-Semantic-Focus-Stamp";
const TRIES = 5;
const ROUTE = "/semantic_focus/mend/";
const PACKED = typeof CompressionStream === "function";

/**
 * @param {Response} answer
 * @param {string} route
 * @returns {Promise<any>}
 * @throws {Error} a sentence of the server, or of what became of the request
 */
async function jsonOf(answer, route) {
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok || content.error) throw new Error(content.error ?? `${route}: HTTP ${answer.status}`);
  return content;
}

/**
 * An answer that is no JSON, unless something is wrong.
 * @param {Response} answer
 * @param {string} route
 */
async function plainOf(answer, route) {
  const isJson = answer.headers.get("Content-Type")?.includes("json");
  if (!answer.ok || isJson) await jsonOf(answer, route);
  return answer;
}

/**
 * @param {string} name
 * @param {Record<string, any>} header
 * @param {Uint8Array[]} planes
 * @returns {Promise<Response>}
 */
async function send(name, header, planes) {
  const words = new TextEncoder().encode(JSON.stringify(header));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, words.length, true);
  const parts = /** @type {BlobPart[]} */ ([length.buffer, words, ...planes]);
  let body = new Blob(parts);
  /** @type {Record<string, string>} */
  const headers = { "Content-Type": "application/octet-stream" };
  if (PACKED) {
    body = await new Response(body.stream().pipeThrough(new CompressionStream("gzip"))).blob();
    headers["Content-Encoding"] = "gzip";
  }
  return api.fetchApi(ROUTE + name, { method: "POST", headers, body });
}

/** @param {Place} place @returns {Promise<Opened>} */
export async function open(place) {
  return jsonOf(await post(`${ROUTE}open`, { place }), "open");
}

/** @param {Place} place @returns {Promise<ImageBitmap>} the picture at working size */
export async function readPicture(place) {
  const answer = await plainOf(await post(`${ROUTE}picture`, { place }), "picture");
  return createImageBitmap(await answer.blob(), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
}

/**
 * What the server knows of a picture's masks, and the masks, both of the same version of the file.
 * @param {Place} place
 * @returns {Promise<[Opened, Uint8Array]>} see `Layers`
 */
export async function read(place) {
  for (let time = 0; ; time++) {
    const opened = await open(place);
    const answer = await plainOf(await post(`${ROUTE}layers`, { place }), "layers");
    const bytes = new Uint8Array(await answer.arrayBuffer());
    // somebody may have written in between
    if ((answer.headers.get(STAMP) ?? opened.stamp) === opened.stamp || time >= TRIES) return [opened, bytes];
  }
}

/**
 * Write what the hand said of some labels.
 * @param {Place} place
 * @param {any} stamp of what it was made from
 * @param {string[]} labels
 * @param {Uint8Array[]} planes for each label the values, then where they were said
 * @returns {Promise<Opened>}
 */
export async function save(place, stamp, labels, planes) {
  return jsonOf(await send("save", { place, stamp, labels }, planes), "save");
}

/**
 * Draw the border of a region along the edges of the picture.
 * @param {Place} place
 * @param {Box} box
 * @param {Uint8Array} values of the region in the box
 * @returns {Promise<Uint8Array>} the same, refined
 */
export async function snap(place, { left, top, right, bottom }, values) {
  const window = { x: left, y: top, width: right - left, height: bottom - top };
  const answer = await plainOf(await send("snap", { place, ...window }, [values]), "snap");
  const found = new Uint8Array(await answer.arrayBuffer());
  if (found.length !== values.length) throw new Error(`snap: ${found.length} values for ${values.length}`);
  return found;
}

/**
 * @param {Place} place
 * @param {any} stamp
 * @param {string[] | null} regions null: all
 * @returns {Promise<Opened>}
 */
export async function takeBack(place, stamp, regions) {
  return jsonOf(await post(`${ROUTE}take_back`, { place, stamp, regions }), "take_back");
}
