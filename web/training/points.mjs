// The points of a training's curves: reports bring the later ones.

/**
 * @typedef {import("./runs.mjs").Points} Points
 * @typedef {import("./runs.mjs").Validation} Validation
 * @typedef {import("./runs.mjs").Report} Report
 * @typedef {import("./runs.mjs").Run} Run
 */

const MOST_POINTS = 20000; // the server keeps fewer: beyond this, its own are taken

/** @param {any[]} column */
const numbers = (column) => column.map((value) => value ?? NaN);

/** @param {Record<string, any[]>} columns */
const tables = (columns) =>
  Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, numbers(column)]));

/** @param {any} points as JSON has them @returns {Points} */
export function withNaN({ step, total, prior, learning_rate, regions, validation }) {
  return {
    step,
    total: numbers(total),
    prior: numbers(prior),
    learning_rate: numbers(learning_rate),
    regions: tables(regions),
    validation: validation && {
      step: validation.step,
      loss: numbers(validation.loss),
      regions: tables(validation.regions),
      drift: tables(validation.drift),
    },
  };
}

/**
 * Add the columns of later steps.
 * @param {Record<string, number[]>} to
 * @param {Record<string, number[]>} more
 * @param {number} from index in them of the first step that is new
 * @param {number} length of the columns that are there
 */
function extend(to, more, from, length) {
  for (const [name, column] of Object.entries(more)) {
    to[name] ??= Array(length).fill(NaN);
    to[name].push(...column.slice(from));
  }
}

/**
 * @param {Points} to
 * @param {Validation | undefined} more
 */
function appendValidation(to, more) {
  if (!more) return;
  if (!to.validation) {
    to.validation = more;
    return;
  }
  const { step, loss, regions, drift } = to.validation;
  const from = more.step.findIndex((later) => later > (step.at(-1) ?? 0));
  if (from < 0) return;
  extend(regions, more.regions, from, step.length);
  extend(drift, more.drift, from, step.length);
  step.push(...more.step.slice(from));
  loss.push(...more.loss.slice(from));
}

/**
 * @param {Points} to
 * @param {Points} more
 */
function append(to, more) {
  appendValidation(to, more.validation);
  const known = to.step.at(-1) ?? 0;
  const from = more.step.findIndex((step) => step > known);
  if (from < 0) return;
  extend(to.regions, more.regions, from, to.step.length);
  for (const name of ["step", "total", "prior", "learning_rate"]) to[name].push(...more[name].slice(from));
}

/**
 * What is known of a training once a report has come.
 * @param {Run | undefined} present what was known, of this training or another
 * @param {Report} report
 * @returns {{run: Run, missing: boolean}} `missing`: points before those of the report
 */
export function joined(present, report) {
  const known = present?.run === report.run ? present : undefined;
  const points = withNaN(report.points);
  if (!known) return { run: { ...report, points }, missing: report.after > 0 };
  const old = report.revision < known.revision;
  if (report.after === 0) {
    // an answer may come after events that are younger
    append(points, known.points);
    return { run: { ...(old ? known : report), points }, missing: false };
  }
  if (old) return { run: known, missing: false };
  const reached = known.points.step.at(-1) ?? 0;
  append(known.points, points);
  const missing = reached < report.after || known.points.step.length > MOST_POINTS;
  return { run: { ...report, points: known.points }, missing };
}
