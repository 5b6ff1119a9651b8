// The folders that the user of this browser has chosen or used. The server is asked about no other: a workflow may be a
// stranger's, and the folder that it names another computer, to which Windows would log in. Kept by the browser and not
// by the server, which others may use as well: what they have used, this user has not.
import { putLast } from "../lib/latest.mjs";

const STORE = "semantic_focus.folders";
const MOST_KNOWN = 200;
const MOST_TYPED = 1000;

/** @type {Map<string, true>} texts that were typed or pasted into a field, the latest last */
const typed = new Map();

/** @returns {Map<string, true>} the latest last */
function known() {
  try {
    const folders = JSON.parse(localStorage.getItem(STORE) ?? "[]");
    return new Map(folders.map((folder) => [folder, true]));
  } catch {
    return new Map();
  }
}

/** @returns {string[]} the folders that the user has chosen or used, the latest first */
export function knownFolders() {
  return [...known().keys()].filter(Boolean).reverse();
}

/**
 * Whether the server may be asked about a folder; there is nothing to ask about none.
 * @param {string} folder as the graph has it
 */
export function isKnown(folder) {
  const name = folder.trim();
  return !name || typed.has(name) || known().has(name);
}

/**
 * The user has chosen or used a folder.
 * @param {string} folder
 */
export function remember(folder) {
  const name = folder.trim();
  typed.set(name, true);
  const folders = known();
  putLast(folders, name, true, MOST_KNOWN);
  try {
    localStorage.setItem(STORE, JSON.stringify([...folders.keys()]));
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
