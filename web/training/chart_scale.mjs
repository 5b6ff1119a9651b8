// What a chart computes before it draws: running means, the marks of its axes, few enough points for its pixels.

const SEEN = 0.75; // pixels; what differs by less need not be drawn

/** @typedef {{toX: (step: number) => number, toY: (value: number) => number, log: boolean, gap: number}} Scale */

/**
 * Exponential running mean, corrected for its start, as semantic_focus/training/plot.py has it; NaN where a value is
 * absent.
 * @param {ArrayLike<number>} values
 * @param {number} smoothing share of the past that each point keeps, 0..below 1
 */
export function smoothed(values, smoothing) {
  const result = new Float64Array(values.length);
  let mean = 0;
  let weight = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value !== value) {
      result[i] = NaN;
      continue;
    }
    mean = smoothing * mean + (1 - smoothing) * value;
    weight = smoothing * weight + (1 - smoothing);
    result[i] = mean / weight;
  }
  return result;
}

/**
 * The smallest and the largest number of several curves.
 * @param {ArrayLike<number>[]} curves
 * @param {boolean} log only numbers above 0 count
 * @returns {[number, number] | null} null when there is none
 */
export function extent(curves, log) {
  let low = Infinity;
  let high = -Infinity;
  for (const values of curves) {
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (log && value <= 0) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : null;
}

/**
 * Round numbers in a range, at most so many.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 * @returns {number[]}
 */
export function marks(low, high, most) {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? rough;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

/**
 * Round numbers in a range of a logarithmic axis, at most about so many.
 * @param {number} low above 0
 * @param {number} high
 * @param {number} most
 */
export function logMarks(low, high, most) {
  for (const factors of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      found.push(...factors.map((factor) => factor * 10 ** power));
    }
    const inside = found.filter((value) => value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9));
    if (inside.length <= most || factors.length === 1) {
      return inside.length > 1 ? inside : marks(low, high, most).filter((value) => value > 0);
    }
  }
  return [];
}

/**
 * Add a curve to the context's path: of the points in one column of pixels only the first, the lowest, the highest and
 * the last. Where it is absent for longer than `scale.gap` it is interrupted; a point alone becomes a dot.
 * @param {CanvasRenderingContext2D} context
 * @param {ArrayLike<number>} steps rising
 * @param {ArrayLike<number>} values
 * @param {Scale} scale
 */
export function trace(context, steps, values, { toX, toY, log, gap }) {
  let column = NaN;
  let x = 0;
  let low = 0;
  let high = 0;
  let last = 0;
  let before = -1; // index of the point before
  let beforeX = 0;
  const finish = () => {
    const [below, above] = [toY(low), toY(high)];
    if (below - above > SEEN) {
      context.lineTo(x, below);
      context.lineTo(x, above);
    }
    if (low !== high) context.lineTo(x, toY(last));
  };
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value !== value || (log && value <= 0)) continue;
    const at = toX(steps[i]);
    if (Math.floor(at) === column) {
      if (value < low) low = value;
      if (value > high) high = value;
      last = value;
    } else {
      if (before >= 0) finish();
      if (before < 0 || (i - before > 1 && at - beforeX > gap)) context.moveTo(at, toY(value));
      context.lineTo(at, toY(value));
      column = Math.floor(at);
      x = at;
      low = high = last = value;
    }
    before = i;
    beforeX = at;
  }
  if (before >= 0) finish();
}

/**
 * Add to the context's path, for each column of pixels, what lies between the lowest and the highest value in it.
 * @param {CanvasRenderingContext2D} context
 * @param {ArrayLike<number>} steps rising
 * @param {ArrayLike<number>} values
 * @param {Scale} scale
 */
export function band(context, steps, values, { toX, toY, log }) {
  let column = NaN;
  let low = Infinity;
  let high = -Infinity;
  const finish = () => {
    if (low > high) return;
    const top = toY(high);
    context.rect(column, top, 1, Math.max(1, toY(low) - top));
  };
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value !== value || (log && value <= 0)) continue;
    const at = Math.floor(toX(steps[i]));
    if (at !== column) {
      finish();
      column = at;
      low = high = value;
    } else if (value < low) low = value;
    else if (value > high) high = value;
  }
  finish();
}

/**
 * Index of the step that is nearest.
 * @param {ArrayLike<number>} steps rising
 * @param {number} wanted
 */
export function nearest(steps, wanted) {
  let low = 0;
  let high = steps.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low > 0 && wanted - steps[low - 1] <= steps[low] - wanted ? low - 1 : low;
}
