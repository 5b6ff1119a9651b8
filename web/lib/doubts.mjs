// Where masks are probably wrong: rings round the places, words, and the order in which pictures are looked at.
import { addStylesheet, element } from "./panel.mjs";
import { regionName, text } from "./text.mjs";

addStylesheet(new URL("doubts.css", import.meta.url).href);

/**
 * What semantic_focus/regions/doubts.py says: `at` and `box` (left, top, right, bottom) are shares of the picture.
 * @typedef {{region: string, other: string, score: number, at: [number, number],
 *   box: [number, number, number, number]}} Doubt
 */

const FLAGGED = 0.5;

const SPOKEN = { body: "skin" };

/**
 * Those that are shown, the gravest first.
 * @param {Doubt[] | undefined} doubts
 */
export function flagged(doubts) {
  return (doubts ?? []).filter(({ score }) => score >= FLAGGED);
}

/**
 * Pictures to look at before the others, the gravest first; the others stay in their order.
 * @template {{doubts?: Doubt[]}} Item
 * @param {Item[]} pictures
 * @returns {Item[]}
 */
export function gravestFirst(pictures) {
  const gravity = (picture) => flagged(picture.doubts)[0]?.score ?? 0;
  return [...pictures].sort((one, other) => gravity(other) - gravity(one));
}

/**
 * Rings round the places, to lay over a picture that fills its parent.
 * @param {Doubt[] | undefined} doubts
 * @returns {HTMLElement[]}
 */
export function rings(doubts) {
  return flagged(doubts).map(({ at: [x, y] }) => {
    const style = { left: `${x * 100}%`, top: `${y * 100}%` };
    return element("span", { className: "sf-doubt", aria: { hidden: "true" }, style });
  });
}

/**
 * "look at this: clothing or skin?", once each.
 * @param {Doubt[] | undefined} doubts
 * @returns {string[]}
 */
export function doubtsInWords(doubts) {
  const spoken = (region) => regionName(SPOKEN[region] ?? region);
  const sentences = flagged(doubts).map(({ region, other }) => {
    const values = { region: spoken(region), other: spoken(other) };
    return text(`dataset.says.${other ? "doubt" : "doubtExtent"}`, values);
  });
  return [...new Set(sentences)];
}
