// Weights and their fetches in words.
import { text } from "../lib/text.mjs";

/** @typedef {import("./server.mjs").Fetch} Fetch */
/** @typedef {import("./server.mjs").Way} Way */

/** @param {number} bytes */
export function size(bytes) {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(1)} GB`;
  return bytes >= 1e6 ? `${Math.round(bytes / 1e6)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`;
}

/** @param {Fetch} fetch */
export function progress({ state, done, total }) {
  if (state === "waiting") return text("supply.waiting");
  if (!total) return text("supply.starting");
  const percent = Math.min(100, Math.floor((100 * done) / total));
  return text("supply.progress", { percent, done: size(done), total: size(total) });
}

/**
 * Why a fetch has ended without its weights, and what to do.
 * @param {Fetch} fetch
 */
export function fault({ kind, values, error }) {
  const key = `supply.kinds.${kind}`;
  const { command = "", ...others } = values;
  const words = text(key, { ...others, command: command.trim() });
  return words === key ? error : words;
}

/** @param {Way} way */
export function nameOf({ segmenter, description }) {
  const key = `supply.segmenters.${segmenter}`;
  const name = text(key);
  return name === key ? description : name;
}
