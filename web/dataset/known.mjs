// The folders that the user of this browser has chosen or used. The server is asked about no other: a workflow may be a
// stranger's, and the folder that it names another computer, to which Windows would log in. Kept by the browser and not
// by the server, which others may use as well: what they have used, this user has not.
import { putLast } from "../lib/latest.mjs";

const STORE = "semantic_focus.folders";
/** The folders of runs: they are no choice for pictures. */
export const RUNS = "semantic_focus.runs";
const MOST_KNOWN = 200;
const MOST_TYPED = 1000;

/** @type {Map<string, true>} texts that were typed or pasted into a field, the latest last */
const typed = new Map();

/** @param {string} store @returns {Map<string, true>} the latest last */
function known(store) {
  try {
    const folders = JSON.parse(localStorage.getItem(store) ?? "[]");
    return new Map(folders.map((folder) => [folder, true]));
  } catch {
    return new Map();
  }
}

/** @param {string} [store] @returns {string[]} the folders that the user has chosen or used, the latest first */
export function knownFolders(store = STORE) {
  return [...known(store).keys()].filter(Boolean).reverse();
}

/**
 * Whether the server may be asked about a folder; there is nothing to ask about none.
 * @param {string} folder as the graph has it
 */
export function isKnown(folder) {
  const name = folder.trim();
  return !name || typed.has(name) || [STORE, RUNS].some((store) => known(store).has(name));
}

/**
 * The user has chosen or used a folder.
 * @param {string} folder
 * @param {string} [store]
 */
export function remember(folder, store = STORE) {
  const name = folder.trim();
  typed.set(name, true);
  const folders = known(store);
  putLast(folders, name, true, MOST_KNOWN);
  try {
    localStorage.setItem(store, JSON.stringify([...folders.keys()]));
  } catch {
    // a browser that stores nothing asks again after a reload
  }
}

// scripts fill fields, too: only what the browser itself says was typed counts
document.addEventListener(
  "input",
  ({ isTrusted, target }) => {
    const { value } = /** @type {HTMLInputElement} */ (target);
    if (isTrusted && typeof value === "string") putLast(typed, value.trim(), true, MOST_TYPED);
  },
  true,
);
