// Which colour a region is drawn in: the pack's, a colour-blind-safe one, or the user's own.
import { api } from "../../../scripts/api.js";
import { COLOUR, onPreference, PALETTE, preference } from "./preferences.mjs";

/**
 * @typedef {[number, number, number]} Colour 8-bit RGB
 * @typedef {{colour: Colour, keywords: string[], weight: number, soft: boolean}} Category
 * @typedef {Record<string, number>} Weights by category
 */

export const SAFE = "colour-blind safe";
export const OWN = "own";
export const PALETTES = ["standard", SAFE, OWN];

// the eight of Okabe and Ito (2008), "Color Universal Design"; black and orange are left for others
const COLOUR_BLIND_SAFE = /** @type {Record<string, Colour>} */ ({
  face: [213, 94, 0],
  body: [204, 121, 167],
  clothing: [0, 114, 178],
  hair: [240, 228, 66],
  background: [0, 158, 115],
  lighting: [86, 180, 233],
});

/** What no region covers, and the loss of the whole picture. */
const NEUTRAL = /** @type {Record<string, Colour>} */ ({ residual: [150, 150, 150], global: [130, 130, 130] });

/** @returns {Promise<{categories: Record<string, Category>, presets: Record<string, Weights>}>} */
async function load() {
  const node = "SemanticFocusCosineLoss";
  try {
    const answer = await api.fetchApi(`/object_info/${node}`);
    return (await answer.json())[node].input.required.preset[1];
  } catch {
    return { categories: {}, presets: {} };
  }
}

/** The vocabulary in palette order, and the presets, as semantic_focus/categories.py has them. */
export const { categories: CATEGORIES, presets: PRESETS } = await load();

/**
 * The colour of a category of the user's own: bright, and dependent on its name only (FNV-1a of its UTF-8 as the
 * hue, as semantic_focus/regions/overlay.py does it).
 * @param {string} name
 * @returns {Colour}
 */
function colourOfName(name) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  const hue = (hash / 2 ** 32) * 6;
  // HSV with saturation .65 and value .95
  const channel = (from) => {
    const place = (from + hue) % 6;
    return Math.round(255 * 0.95 * (1 - 0.65 * Math.max(0, Math.min(place, 4 - place, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}

/**
 * The colour that the user chose for a category.
 * @param {string} category
 * @returns {Colour | null}
 */
function ownColour(category) {
  const own = /^#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(preference(`${COLOUR}.${category}`) ?? "");
  return own && /** @type {Colour} */ (own.slice(1).map((part) => parseInt(part, 16)));
}

/** Whether the user chose a colour that is not the pack's. */
export function hasOwnColours() {
  return Object.entries(CATEGORIES).some(([name, { colour }]) => String(ownColour(name) ?? colour) !== String(colour));
}

/**
 * @param {string} region
 * @returns {Colour}
 */
export function colourOf(region) {
  const palette = preference(PALETTE);
  if (palette === SAFE && region in COLOUR_BLIND_SAFE) return COLOUR_BLIND_SAFE[region];
  if (palette === OWN && region in CATEGORIES) {
    const own = ownColour(region);
    if (own) return own;
  }
  return CATEGORIES[region]?.colour ?? NEUTRAL[region] ?? colourOfName(region);
}

/** @param {Colour} colour */
export function css(colour) {
  return `rgb(${colour.join(" ")})`;
}

/** @param {Colour} colour @returns {string} such as "e84e46" */
export function hex(colour) {
  return colour.map((channel) => channel.toString(16).padStart(2, "0")).join("");
}

/**
 * Call back when regions get other colours.
 * @param {() => void} callback
 */
export function onPalette(callback) {
  onPreference([PALETTE, ...Object.keys(CATEGORIES).map((name) => `${COLOUR}.${name}`)], callback);
}
