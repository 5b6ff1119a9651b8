// Files that the user drops or chooses, copied into a folder below ComfyUI's input. The server replaces nothing there:
// see semantic_focus/datasets/adding.py.
import { api } from "../../../scripts/api.js";

/**
 * @typedef {{files: File[], folder: string}} Dropped `folder`: name of the folder that was dropped, or empty
 * @typedef {{pictures: string[], captions: string[]}} Endings of files that are taken
 * @typedef {{folder: string, fresh: number, same: number, renamed: [string, string][], refused: string[]}} Copied
 * `folder`: its path on the server; `renamed`: pairs of the name before and the name now
 */

const MOST_FILES = 20_000;
const BYTES = "application/octet-stream";

/** @param {DataTransfer | null} transfer @returns {boolean} whether files are dragged */
export const hasFiles = (transfer) => Boolean(transfer?.types.includes("Files"));

/**
 * The files of a drop, and those in its folders; not those of folders below. To be called while the drop is handled.
 * @param {DataTransfer} transfer
 * @returns {Promise<Dropped>}
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  const plain = [...transfer.files].filter((_, at) => !entries[at]?.isDirectory);
  const folders = /** @type {FileSystemDirectoryEntry[]} */ (entries.filter((entry) => entry?.isDirectory));
  const inside = await Promise.all(folders.map(filesIn));
  return { files: [...plain, ...inside.flat()], folder: folders[0]?.name ?? "" };
}

/** @param {FileSystemDirectoryEntry} folder @returns {Promise<File[]>} */
async function filesIn(folder) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const entries = [];
  for (;;) {
    const some = await new Promise((found, failed) => reader.readEntries(found, failed)); // about a hundred at a time
    entries.push(...some);
    if (!some.length || entries.length > MOST_FILES) break;
  }
  const files = /** @type {FileSystemFileEntry[]} */ (entries.filter((entry) => entry.isFile));
  return Promise.all(files.map((entry) => new Promise((found, failed) => entry.file(found, failed))));
}

/** @param {string} name */
const stemOf = (name) => name.replace(/\.[^.]*$/, "");

/** @param {string} name @param {string[]} endings */
const endsIn = (name, endings) => endings.some((ending) => name.toLowerCase().endsWith(ending));

/**
 * The files that are worth sending, pictures first, and the names of the others.
 * @param {File[]} files
 * @param {Endings} endings
 */
export function sorted(files, { pictures, captions }) {
  const shown = files.filter(({ name }) => !name.startsWith("."));
  return {
    pictures: shown.filter(({ name }) => endsIn(name, pictures)),
    captions: shown.filter(({ name }) => endsIn(name, captions)),
    others: shown.filter(({ name }) => !endsIn(name, [...pictures, ...captions])).map(({ name }) => name),
  };
}

/**
 * Copy files, one after the other. A caption follows its picture to the name that this has got.
 * @param {string} folder its name below input
 * @param {{pictures: File[], captions: File[]}} files
 * @param {AbortSignal} signal
 * @param {(done: number, all: number) => void} progress
 * @returns {Promise<Copied>}
 */
export async function copy(folder, { pictures, captions }, signal, progress) {
  /** @type {Copied} */
  const copied = { folder: "", fresh: 0, same: 0, renamed: [], refused: [] };
  /** @type {Map<string, string | null>} by stem of a picture: its stem on the server, null when it was refused */
  const stems = new Map();
  let done = 0;
  for (const file of [...pictures, ...captions]) {
    progress(done++, pictures.length + captions.length);
    const isPicture = pictures.includes(file);
    const stem = stems.get(stemOf(file.name));
    if (!isPicture && stem === null) continue;
    const name = isPicture || !stem ? file.name : stem + file.name.slice(stemOf(file.name).length);
    const answer = await send(folder, name, file, signal);
    if (isPicture) stems.set(stemOf(file.name), answer.error ? null : stemOf(answer.name));
    if (answer.error) copied.refused.push(answer.error);
    else {
      copied.folder = answer.folder;
      if (answer.outcome === "same") copied.same += Number(isPicture);
      else copied.fresh += Number(isPicture);
      if (isPicture && answer.name !== file.name) copied.renamed.push([file.name, answer.name]);
    }
  }
  return copied;
}

/**
 * @param {string} folder
 * @param {string} name
 * @param {File} file
 * @param {AbortSignal} signal
 */
async function send(folder, name, file, signal) {
  const query = new URLSearchParams({ folder, name });
  const headers = { "Content-Type": BYTES };
  const body = await file.arrayBuffer();
  const answer = await api.fetchApi(`/semantic_focus/folders/add?${query}`, { method: "POST", headers, body, signal });
  const content = await answer.json().catch(() => ({}));
  return answer.ok ? content : { error: `${name}: ${content.error ?? `HTTP ${answer.status}`}` };
}
