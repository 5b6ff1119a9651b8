// Curves that can be told from the ground and from each other, also without seeing colours.

/** @typedef {import("../lib/palette.mjs").Colour} Colour */

const READABLE = 3; // WCAG 2.2, 1.4.11: contrast of what is drawn

/** Outlines of the marks along the curves, within -1..1. */
export const SHAPES = [
  "M-.9-.9H.9V.9H-.9Z",
  "M0-1.1L1.1.9H-1.1Z",
  "M0-1.25L1.25 0L0 1.25L-1.25 0Z",
  "M0 1.1L1.1-.9H-1.1Z",
  "M-1 0A1 1 0 1 1 1 0A1 1 0 1 1-1 0Z",
  "M-.4-1.2H.4V-.4H1.2V.4H.4V1.2H-.4V.4H-1.2V-.4H-.4Z",
  "M0-1.3L.4-.4L1.3 0L.4.4L0 1.3L-.4.4L-1.3 0L-.4-.4Z",
  "M-1.2-.45H1.2V.45H-1.2Z",
];

/** @param {Colour} colour */
function luminance(colour) {
  const [red, green, blue] = colour.map((channel) => {
    const share = channel / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/**
 * @param {Colour} one
 * @param {Colour} other
 */
function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/**
 * A colour as near to the given one as can be seen on the ground, moved towards the text's.
 * @param {Colour} colour
 * @param {Colour} ground
 * @param {Colour} ink the text's
 * @returns {Colour}
 */
export function visible(colour, ground, ink) {
  for (let share = 0; share < 1; share += 0.1) {
    const mixed = /** @type {Colour} */ (colour.map((own, channel) => own + (ink[channel] - own) * share));
    if (contrast(mixed, ground) >= READABLE) return mixed;
  }
  return ink;
}

/**
 * @param {string} css a computed colour
 * @returns {Colour}
 */
export function parsed(css) {
  const numbers = (css.match(/[\d.]+/g) ?? ["128", "128", "128"]).slice(0, 3).map(Number);
  // color(srgb ...) has shares
  return /** @type {Colour} */ (css.startsWith("color(") ? numbers.map((share) => share * 255) : numbers);
}
