// From the pictures that a node showed into the editor of their masks.
import { faultInWords } from "../lib/faults.mjs";
import { text } from "../lib/text.mjs";
import { mend } from "./view.mjs";

/** @typedef {import("../lib/previews.mjs").Preview} Preview */

/**
 * Show on a button whether the masks of a preview can be mended.
 * @param {any} control
 * @param {Preview | null | undefined} preview
 */
export function offerMending(control, preview) {
  control.classList.toggle("sf-hidden", preview?.place === undefined);
  control.disabled = !preview?.place;
  control.title = preview?.place ? text("mend.openTip") : faultInWords(preview?.why_not ?? text("mend.noPlace"));
}

/**
 * Mend the masks of previews, those that can be kept, until the user closes the editor.
 * @param {Preview[]} previews
 * @param {number} page which is shown first
 * @returns {Promise<{page: number, wrote: boolean}>} which was shown last, and whether anything was written
 */
export async function mendPreviews(previews, page) {
  const pages = previews.flatMap(({ place }, at) => (place ? [at] : []));
  const items = pages.map((at) => ({ place: previews[at].place ?? null, name: `${at + 1}/${previews.length}` }));
  const at = pages.indexOf(page);
  if (at < 0) return { page, wrote: false };
  const ended = await mend(items, at);
  return { page: pages[ended.at], wrote: ended.wrote };
}
