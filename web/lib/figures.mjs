// How numbers read in all panels.

/**
 * A share as a percentage: with one decimal while it is small.
 * @param {number | null | undefined} share 0..1
 */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share > 0 && share < 0.001) return "<0.1%";
  return `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;
}

/**
 * A change with its sign and one decimal.
 * @param {number} share -1..: -0.5 is half of what was
 */
export function change(share) {
  const said = (share * 100).toFixed(1).replace(/^-(0\.0)$/, "$1");
  return `${share > 0 && said !== "0.0" ? "+" : ""}${said.replace("-", "−")}%`;
}

/**
 * A loss or another number that may be small or large.
 * @param {number} value NaN: there is none
 * @param {number} [digits] behind the point, of a number below 10
 */
export function figure(value, digits = 4) {
  if (value !== value) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 0.001 && size < 1000 ? value.toFixed(size < 10 ? digits : 2) : value.toExponential(2);
}
