// Which folder a node means, with which settings its masks are made, and what the server says about it.
import { api } from "../../../scripts/api.js";
import { everyNode, graphKey, placesOf, runIdAt, runIdsOf } from "../lib/graph.mjs";
import { feederOf, isActive, valueOf } from "../lib/graph_walk.mjs";
import { CATEGORIES, colourOf, hex } from "../lib/palette.mjs";
import { post } from "../lib/server.mjs";

/**
 * @typedef {import("../lib/graph.mjs").Place} Place
 */

/**
 * What semantic_focus/datasets/status.py knows of one picture.
 * @typedef {{name: string, status: string, reason: string, captioned: boolean, persons: number | null,
 *   coverage: Record<string, number>, problems: string[], notes: string[],
 *   doubts: import("../lib/doubts.mjs").Doubt[], by_hand: string[], stamp: string, mask_stamp: string}} Picture
 * @typedef {{folder: string, pictures: Picture[], complete: boolean, left_out?: string[]}} Listing
 */

/**
 * What a panel shows: `folder` is null when only a run can tell it, `maker` is the run id of the node that makes the
 * masks, or null because of a `lack` of it: "off" (the node itself is muted or bypassed), "loaded" (the masks are only
 * read) or "connect" (nothing is connected).
 * @typedef {{folder: string | null, settings: Record<string, any>, maker: string | null, lack: string,
 *   captions: Captions}} Source
 */

/**
 * What a node makes of the caption files. `needed`: a picture without one is an error in a run; `trigger`: a word that
 * is put before those that lack it; `otherwise`: the caption of a picture without a file.
 * @typedef {{needed: boolean, trigger: string, otherwise: string}} Captions
 */

export const LOADER = "SemanticFocusLoadDataset";
export const CACHER = "SemanticFocusCacheDataset";
export const PREPARER = "SemanticFocusPrepare";
export const SEGMENTER = "SemanticFocusSegment";
/** The nodes that show a folder. */
export const WITH_FOLDER = [LOADER, CACHER, PREPARER];
const MASK_LOADER = "SemanticFocusLoadMasks";
const FORGOTTEN = 403; // the server was started anew: the folder has to be listed again
const MASK_FILES = 2; // output of LOADER
/** @type {Map<string, string[]>} by node: what a picture without a caption file may have in its place */
const CAPTIONS = new Map([
  [LOADER, ["default_caption"]],
  [PREPARER, ["default_caption", "trigger_word"]],
]);
const SETTINGS = ["backend", "refine", "keywords", "keep_overlaps"];

/** @type {Map<string, string>} by graph and node: the folder of the last run */
const reported = new Map();

/**
 * @param {any} node
 * @param {string} folder
 */
export function reportFolder(node, folder) {
  reported.set(graphKey(node), folder);
}

/** @param {any} value of an input */
const isBlank = (value) => value?.trim?.() === "";

/** @param {any} node @returns {string | undefined} the folder of its last run, as the server names it */
export const reportedFolder = (node) => reported.get(graphKey(node));

/** @param {any} node @returns {string | null} the id that running it takes; null when it is in no graph */
export const executionId = (node) => runIdsOf(node)[0] ?? null;

/**
 * The nodes of a type that use the mask files of a Load Semantic Dataset.
 * @param {Place} loader
 * @param {string} type
 * @returns {Place[]}
 */
function usersOf(loader, type) {
  const id = runIdAt(loader);
  return [...everyNode()].filter((place) => {
    if (place.node.type !== type || !isActive(place)) return false;
    const from = feederOf(place, "mask_file");
    return from?.slot === MASK_FILES && runIdAt(from) === id;
  });
}

/**
 * @param {Place} place of a dataset node
 * @returns {Place | null} the node that makes its masks
 */
function makerOf(place) {
  if ([CACHER, PREPARER].includes(place.node.type)) return place;
  const [segmenter] = usersOf(place, SEGMENTER);
  if (segmenter) return segmenter;
  const folder = nameOf(place);
  const makes = (other) => other.node.type === CACHER && isActive(other) && nameOf(other) === folder;
  return (folder && [...everyNode()].find(makes)) || null;
}

/** @param {Place} place @returns {string} its folder as somebody wrote it, without the end that does not matter */
function nameOf(place) {
  const folder = valueOf(place, "folder");
  return typeof folder === "string" ? folder.trim().replace(/(?<=.)[\\/]+$/, "") : "";
}

/** @param {Place} place of a dataset node @returns {Captions} */
function captionsOf(place) {
  const names = CAPTIONS.get(place.node.type) ?? [];
  /** @param {string} name */
  const words = (name) => (names.includes(name) ? String(valueOf(place, name) ?? "").trim() : "");
  const needed = names.length > 0 && names.every((name) => isBlank(valueOf(place, name)));
  return { needed, trigger: words("trigger_word"), otherwise: words("default_caption") };
}

/**
 * What a picture is trained with, as semantic_focus/datasets/captions.py puts it together.
 * @param {string} caption its own; empty where it has none
 * @param {boolean} captioned it has a caption file
 * @param {Captions} captions
 */
export function trainedWords(caption, captioned, { trigger, otherwise }) {
  const words = captioned ? caption : otherwise;
  const literal = trigger.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  const has = new RegExp(`(?<![\\p{L}\\p{N}_])${literal}(?![\\p{L}\\p{N}_])`, "iu");
  if (!trigger || has.test(words)) return words;
  return words ? `${trigger}, ${words}` : trigger;
}

/**
 * @param {any} node
 * @returns {Source | null} null when the node is in no graph
 */
export function sourceOf(node) {
  const [place] = placesOf(node);
  if (!place) return null;
  const active = isActive(place);
  const maker = active ? makerOf(place) : null;
  const folder = valueOf(place, "folder") ?? reported.get(graphKey(node)) ?? null;
  // Load Semantic Dataset reads no subfolders, whoever makes its masks
  const names = node.type === CACHER ? [...SETTINGS, "recursive"] : SETTINGS;
  const known = maker ? names.map((name) => [name, valueOf(maker, name)]) : [];
  return {
    folder: typeof folder === "string" ? folder : null,
    settings: Object.fromEntries(known.filter(([, value]) => value !== undefined)),
    maker: maker && runIdAt(maker),
    captions: captionsOf(place),
    lack: maker ? "" : !active ? "off" : usersOf(place, MASK_LOADER).length ? "loaded" : "connect",
  };
}

/**
 * @param {string} route
 * @param {Record<string, any>} body
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function ask(route, body, signal) {
  const answer = await post(route, body, signal);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok || content.error) throw new Error(content.error ?? `${route}: HTTP ${answer.status}`);
  return content;
}

/**
 * What nodes/folder_routes.py offers: `input` is ComfyUI's folder of that name, `endings` are of files that it takes.
 * @typedef {{input: string, folders: {path: string, name: string, pictures: number}[],
 *   endings: import("./drop.mjs").Endings}} FolderChoices
 */

/** @returns {Promise<FolderChoices>} the folders with pictures that may be chosen */
export function folderChoices() {
  return ask("/semantic_focus/folders", {});
}

/**
 * @param {Source} source
 * @returns {Promise<Listing>}
 */
export function list(source) {
  return ask("/semantic_focus/dataset", { ...source.settings, folder: source.folder });
}

/** @typedef {{caption: string, stamp: string}} Caption `stamp` tells one version from another; empty without a file */

/**
 * @param {string} folder
 * @param {string} name
 * @param {AbortSignal} [signal]
 * @returns {Promise<Caption>}
 */
export function readCaption(folder, name, signal) {
  return ask("/semantic_focus/caption", { folder, name }, signal);
}

/**
 * @param {string} folder
 * @param {string} name
 * @param {string} caption
 * @param {string} stamp of the caption that it takes the place of
 * @returns {Promise<Caption & {conflict?: boolean}>} as it is now; with `conflict` another program wrote it
 */
export function saveCaption(folder, name, caption, stamp) {
  return ask("/semantic_focus/caption/save", { folder, name, caption, stamp });
}

/**
 * Put a trigger word before a caption that does not have it.
 * @param {string} folder
 * @param {string} name
 * @param {string} trigger
 * @returns {Promise<{changed: boolean}>}
 */
export function addTrigger(folder, name, trigger) {
  return ask("/semantic_focus/caption/trigger", { folder, name, trigger });
}

/**
 * A query that keeps names of files as they are on the disk: those that are not UTF-8 come from Python with a lone
 * surrogate for each odd byte, which URLSearchParams replaces.
 * @param {Record<string, string>} values
 */
export function queryOf(values) {
  /** @param {string} value */
  const quoted = (value) => {
    const parts = value.split(/([\udc80-\udcff])/u); // every other one is an odd byte
    const plain = (part) => String(new URLSearchParams({ x: part })).slice("x=".length);
    return parts.map((part, at) => (at % 2 ? `%${(part.charCodeAt(0) & 0xff).toString(16)}` : plain(part))).join("");
  };
  const pairs = Object.entries(values).map(([key, value]) => `${key}=${quoted(value)}`);
  return pairs.join("&");
}

/**
 * Where a picture can be had, small or large.
 * @param {string} folder
 * @param {Picture} picture
 * @param {192 | 1024} side
 */
export function pictureUrl(folder, { name, stamp }, side) {
  const query = { folder, name, stamp, side: String(side) };
  return api.apiURL(`/semantic_focus/thumbnail?${queryOf(query)}`);
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
    .map((region) => `${region}:${hex(colourOf(region))}`)
    .join();
  const query = { folder, name, stamp: mask_stamp, side: String(side), layer: "regions", colours };
  return api.apiURL(`/semantic_focus/thumbnail?${queryOf(query)}`);
}

/**
 * Why a picture cannot be shown; null when it is not the picture's fault.
 * @param {string} url
 * @returns {Promise<string | null>}
 */
export async function whyBroken(url) {
  try {
    const answer = await fetch(url);
    const told = answer.headers.get("Content-Type")?.includes("json") && answer.status !== FORGOTTEN;
    return told ? (await answer.json()).error : null;
  } catch {
    return null; // the server is away
  }
}
