// What became of the pictures of a mask run, in words.
import { text } from "./text.mjs";

/** What may become of a picture, as semantic_focus/datasets/bulk.py names it. */
const STATUSES = ["fresh", "segmented", "kept", "failed", "left"];

/** @param {Record<string, number>} counts of pictures by what became of them */
export function countsInWords(counts) {
  const parts = STATUSES.filter((status) => counts[status]).map((status) =>
    text(`notices.masks.${status}`, { count: counts[status] }),
  );
  return parts.join(text("notices.comma"));
}
