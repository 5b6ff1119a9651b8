// Which folder a node means, with which settings its masks are made, and what the server says about it.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { runIdsOf } from "../lib/graph.mjs";
import { CATEGORIES, colourOf } from "../lib/palette.mjs";
import { widgetOf } from "../lib/panel.mjs";

/**
 * What semantic_focus/dataset_status.py knows of one picture.
 * @typedef {{name: string, status: string, reason: string, captioned: boolean, persons: number | null,
 *   coverage: Record<string, number>, problems: string[], stamp: string, mask_stamp: string}} Picture
 * @typedef {{folder: string, pictures: Picture[], complete: boolean}} Listing
 */

/**
 * What a panel shows: `folder` is null when only a run can tell it, `maker` is the execution id of the node that
 * makes the masks, null when there is none.
 * @typedef {{folder: string | null, settings: Record<string, any>, maker: string | null}} Source
 */

export const LOADER = "SemanticFocusLoadDataset";
export const CACHER = "SemanticFocusCacheDataset";
const SEGMENTER = "SemanticFocusSegment";
const MASK_FILES = 2; // output of LOADER
const SETTINGS = ["backend", "refine", "keywords", "keep_overlaps", "recursive"];

/** @type {Map<string, string>} by graph and node: the folder of the last run */
const reported = new Map();

/** @param {any} node */
const keyOf = (node) => `${node.graph?.id}:${node.id}`;

/**
 * @param {any} node
 * @param {string} folder
 */
export function reportFolder(node, folder) {
  reported.set(keyOf(node), folder);
}

/** @param {any} node @returns {string | null} the id that running it takes; null when it is in no graph */
export const executionId = (node) => runIdsOf(node)[0] ?? null;

/**
 * @param {Record<string, any>} output of a prompt
 * @param {any} value an input in it
 * @returns {any} undefined when only a run can tell
 */
function literal(output, value) {
  if (!Array.isArray(value)) return value;
  const from = output[value[0]];
  return from?.class_type.startsWith("Primitive") ? literal(output, from.inputs.value) : undefined;
}

/**
 * @param {any} node
 * @param {Record<string, any>} output of a prompt
 * @returns {string | null} id of the node that makes the masks of a dataset node
 */
export function makerOf(node, output) {
  const id = executionId(node);
  if (!id || !output[id]) return null;
  if (node.comfyClass === CACHER) return id;
  const takes = ({ class_type, inputs }) =>
    class_type === SEGMENTER && inputs.mask_file?.[0] === id && inputs.mask_file[1] === MASK_FILES;
  return Object.keys(output).find((other) => takes(output[other])) ?? null;
}

/**
 * @param {any} node
 * @returns {Promise<Source>}
 */
export async function sourceOf(node) {
  // what Run would send knows no reroutes, subgraphs, muted or bypassed nodes
  const { output } = await app.graphToPrompt();
  const own = output[executionId(node) ?? ""];
  const maker = makerOf(node, output);
  const written = own ? literal(output, own.inputs.folder) : widgetOf(node, "folder")?.value;
  const folder = written ?? reported.get(keyOf(node)) ?? null;
  const inputs = maker ? output[maker].inputs : {};
  const known = SETTINGS.map((name) => [name, literal(output, inputs[name])]);
  return {
    folder: typeof folder === "string" ? folder : null,
    settings: Object.fromEntries(known.filter(([, value]) => value !== undefined)),
    maker,
  };
}

/**
 * @param {string} route
 * @param {Record<string, any>} body
 * @returns {Promise<any>}
 */
async function ask(route, body) {
  const answer = await api.fetchApi(route, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok || content.error) throw new Error(content.error ?? `${route}: HTTP ${answer.status}`);
  return content;
}

/**
 * @param {Source} source
 * @returns {Promise<Listing>}
 */
export function list(source) {
  return ask("/semantic_focus/dataset", { ...source.settings, folder: source.folder });
}

/**
 * @param {string} folder
 * @param {string} name
 * @returns {Promise<string>} empty without one
 */
export async function readCaption(folder, name) {
  return (await ask("/semantic_focus/caption", { folder, name })).caption;
}

/**
 * Where a picture can be had, small or large.
 * @param {string} folder
 * @param {Picture} picture
 * @param {192 | 1024} side
 */
export function pictureUrl(folder, { name, stamp }, side) {
  const query = new URLSearchParams({ folder, name, stamp, side: String(side) });
  return api.apiURL(`/semantic_focus/thumbnail?${query}`);
}

/**
 * Where the regions of a picture can be had, in the user's colours; null when it has no mask file.
 * @param {string} folder
 * @param {Picture} picture
 * @param {192 | 1024} side
 */
export function regionsUrl(folder, { name, mask_stamp, coverage }, side) {
  const regions = Object.keys(coverage);
  if (!mask_stamp || !regions.length) return null;
  const colours = regions
    .filter((region) => region in CATEGORIES)
    .map((region) => `${region}:${colourOf(region).map(hex).join("")}`)
    .join();
  const query = { folder, name, stamp: mask_stamp, side: String(side), layer: "regions", colours };
  return api.apiURL(`/semantic_focus/thumbnail?${new URLSearchParams(query)}`);
}

/** @param {number} channel */
const hex = (channel) => channel.toString(16).padStart(2, "0");

/**
 * Why a picture cannot be shown; null when it is not the picture's fault.
 * @param {string} url
 * @returns {Promise<string | null>}
 */
export async function whyBroken(url) {
  try {
    const answer = await fetch(url);
    return answer.headers.get("Content-Type")?.includes("json") ? (await answer.json()).error : null;
  } catch {
    return null; // the server is away
  }
}
