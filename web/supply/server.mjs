// What the server says of segmenters and their weights, and how far the fetches are that it has under way.
import { api } from "../../../scripts/api.js";
import { post } from "../lib/server.mjs";

/**
 * Weights that can be had, as semantic_focus/segmenters/ways.py has them.
 * @typedef {{name: string, hub: string, page: string, licence: string, megabytes: number, gated: boolean,
 *   place: string, there: boolean, kept: number, fetched: boolean}} Offer
 * @typedef {{segmenter: string, description: string, tier: string, reads_words: boolean, lacks: string,
 *   offers: Offer[]}} Way
 * @typedef {{segmenter: string, reads_words: boolean, cannot: string[], missing: string, seen: string[],
 *   ways: Way[], sentence: string}} Outlook
 * @typedef {{name: string, state: string, done: number, total: number, error: string, kind: string,
 *   values: Record<string, string>}} Fetch
 */

const PAUSE = 700; // ms between two looks at fetches that are under way
const UNDER_WAY = ["waiting", "running"];

/** @type {{fetches: Record<string, Fetch>, refused: string}} what was heard last; `refused`: why nobody may fetch */
export const heard = { fetches: {}, refused: "" };

/** @type {Set<() => void>} */
const progressed = new Set();
/** @type {Set<() => void>} */
const arrived = new Set();
/** @type {Map<string, Promise<Outlook>>} by question */
const outlooks = new Map();
let timer = 0;

/** @param {Fetch | undefined} fetch */
export const isUnderWay = (fetch) => UNDER_WAY.includes(fetch?.state ?? "");

/**
 * Call back whenever a fetch is further, until the answer is called.
 * @param {() => void} callback
 */
export function onProgress(callback) {
  progressed.add(callback);
  return () => progressed.delete(callback);
}

/**
 * Call back when weights have come, or a server was started anew: other segmenters may be able to run.
 * @param {() => void} callback
 */
export function onArrival(callback) {
  arrived.add(callback);
}

function forget() {
  outlooks.clear();
  arrived.forEach((callback) => callback());
}

api.addEventListener("reconnected", forget);

/**
 * @param {string} route
 * @param {Record<string, any>} [body]
 * @returns {Promise<any>}
 */
async function ask(route, body = {}) {
  const answer = await post(`/semantic_focus/${route}`, body);
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok || content.error) throw new Error(content.error ?? `${route}: HTTP ${answer.status}`);
  if (content.fetches) hear(content);
  return content;
}

/** @param {{fetches: Record<string, Fetch>, refused: string}} content */
function hear({ fetches, refused }) {
  const ended = Object.values(fetches).filter((fetch) => isUnderWay(heard.fetches[fetch.name]) && !isUnderWay(fetch));
  Object.assign(heard, { fetches, refused });
  if (ended.length) outlooks.clear(); // what is there is another
  progressed.forEach((callback) => callback());
  if (ended.some(({ state }) => state === "done")) forget();
  clearTimeout(timer);
  if (Object.values(fetches).some(isUnderWay)) timer = window.setTimeout(look, PAUSE);
}

function look() {
  ask("weights/fetches").catch(() => (timer = window.setTimeout(look, 5 * PAUSE))); // the server is away
}

/**
 * What a choice of segmenter and words comes to.
 * @param {{backend?: string, keywords?: string}} question
 * @returns {Promise<Outlook>}
 */
export function outlookOf(question) {
  const key = JSON.stringify([question.backend, question.keywords]);
  const known = outlooks.get(key);
  if (known) return known;
  const asked = ask("segmenter", question);
  outlooks.set(key, asked);
  asked.catch(() => outlooks.delete(key));
  return asked;
}

/** @returns {Promise<Way[]>} every segmenter with its weights */
export async function allWays() {
  return (await ask("weights")).ways;
}

/**
 * @param {"fetch" | "cancel" | "discard"} what
 * @param {string} name of weights
 */
export async function act(what, name) {
  outlooks.clear();
  await ask(`weights/${what}`, { name });
}
