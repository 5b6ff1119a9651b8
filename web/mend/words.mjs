// What the editor of masks says: how far it is, and what the keys do.
import { regionName, text } from "../lib/text.mjs";

/**
 * @typedef {import("./session.mjs").Session} Session
 */

/** What to press for what, in the order in which it is listed; keys are the same in every language. */
export const KEYS = [
  ["1 … 9", "region"],
  ["B E G O W", "tool"],
  ["[ ]", "size"],
  ["Shift [ ]", "hardness"],
  ["Shift", "straight"],
  ["Alt", "opposite"],
  ["Ctrl + click", "pick"],
  ["S", "snap"],
  ["Ctrl Z / Ctrl Y", "undo"],
  ["C", "before"],
  ["H", "hide"],
  ["Ctrl + wheel, + −, 0", "zoom"],
  ["Space", "pan"],
  ["← ↑ → ↓", "cursor"],
  ["Space / Enter", "paint"],
  ["Page ↑ ↓", "pages"],
  ["N", "nextDoubt"],
  ["Ctrl S", "save"],
];

/**
 * Whether it is saved.
 * @param {Session} session
 */
export function stateInWords(session) {
  if (session.busy) return text(`mend.${session.busy}`);
  if (!session.layers) return "";
  return text(session.unsaved ? "mend.unsaved" : "mend.saved");
}

/**
 * What the tool does, in a line.
 * @param {string} tool
 * @param {string} region
 */
export function hintOf(tool, region) {
  return text(`mend.hints.${tool}`, { region: regionName(region) });
}
