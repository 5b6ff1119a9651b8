// How a training's numbers and endings read.
import { faultInWords } from "../lib/faults.mjs";
import { regionNames, text } from "../lib/text.mjs";

/** @typedef {import("./runs.mjs").Run} Run */

/** @param {number} seconds */
function duration(seconds) {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** @param {{state: string}} run */
export const isRunning = (run) => run.state === "running" || run.state === "starting";

/** @param {number} seconds that passed, roughly */
function lasting(seconds) {
  const [minutes, hours] = [Math.round(seconds / 60), Math.round(seconds / 3600)];
  if (minutes < 90) return text("training.minutes", { count: minutes });
  return hours < 48 ? text("training.hours", { count: hours }) : text("training.days", { count: Math.round(hours / 24) });
}

/** @param {Run} run its state in words */
export function stateOf({ state, step, worse, silent = 0, read = 1 }) {
  if (worse) return text("training.worse");
  const values = { step, time: lasting(silent), percent: Math.floor(100 * read) };
  if (state === "silent" && !step) return text("training.silentBegun", values);
  return text(state === "lost" ? "training.ended" : `training.${state}`, values);
}

/** @param {NonNullable<Run["memory"]>} memory what the training takes of the device, by the estimate */
function needsOf({ needed, free, swap, inputs }) {
  const setting = text(inputs ? "training.swapInputs" : swap ? "training.swap" : "training.noSwap", { percent: swap });
  return text("training.needs", { needed: needed.toFixed(1), free: free.toFixed(1), setting });
}

/** @param {Run} run step, what it needs (until the first step is done), pace, time left, learning rate */
export function progressOf(run) {
  const parts = [text(run.steps ? "training.step" : "training.stepAlone", { step: run.step, steps: run.steps })];
  if (run.memory && !run.points.step.length) parts.push(needsOf(run.memory));
  if (isRunning(run) && run.rate) {
    const pace = run.rate >= 1 ? "training.stepsPerSecond" : "training.secondsPerStep";
    parts.push(text(pace, { number: (run.rate >= 1 ? run.rate : 1 / run.rate).toPrecision(2) }));
    if (run.steps) parts.push(text("training.left", { time: duration((run.steps - run.step) / run.rate) }));
  }
  const rate = run.points.learning_rate.at(-1);
  if (rate !== undefined) parts.push(text("training.rate", { rate: Number(rate.toPrecision(2)).toExponential() }));
  return parts;
}

/**
 * A file or folder without what stands before ComfyUI's output folder's part.
 * @param {string} path
 */
function shortPath(path) {
  const parts = path.split(/[\\/]/);
  const at = parts.lastIndexOf("semantic_focus");
  return at < 0 ? path : ["output", ...parts.slice(at)].join("/");
}

/**
 * The values of a note in the user's language.
 * @param {string} kind
 * @param {Record<string, string>} values
 */
function spoken(kind, { error, regions, ...values }) {
  const own = {};
  if (error !== undefined) own.error = faultInWords(error);
  // what the keywords lack is named as they have to name it
  if (regions !== undefined) own.regions = kind === "no_mask" ? regions : regionNames(regions);
  return { ...values, ...own };
}

/**
 * What there is to say beside the curves.
 * @param {Run} run
 * @returns {string[]}
 */
export function notesOf(run) {
  const notes = run.notes.map(({ kind, text: english, values }) => {
    const key = `training.notes.${kind}`;
    const said = text(key, spoken(kind, values));
    return said === key ? english : said;
  });
  const first = []; // what to do now is read without scrolling
  if (run.state === "failed" && run.error) first.push(faultInWords(run.error));
  if (run.state === "lost") first.push(text("training.lost"));
  const { kept } = run;
  if (kept && !isRunning(run)) {
    const place = { step: kept.step, folder: shortPath(run.folder ?? "") };
    if (!kept.state) first.push(text("training.notWritten"));
    else first.push(text(kept.again ? "training.goOn" : "training.goOnOtherwise", place));
  } else if (run.state === "stopped") {
    first.push(text("training.nothingKept"));
  }
  // a training that is watched by its folder has no node whose LoRA is saved
  if (run.state === "finished" && run.folder) first.push(text("training.use"));
  if (run.folder && !kept) notes.push(text("training.folder", { folder: shortPath(run.folder) }));
  return [...first, ...notes];
}

/**
 * The rows of the table: the server's once the training is over, else by the same rule from the curves.
 * @param {Run} run
 * @returns {import("./runs.mjs").Row[]}
 */
export function rowsOf(run) {
  if (run.rows) return run.rows;
  const tenth = Math.max(1, Math.floor(run.points.step.length / 10));
  const rows = Object.entries(run.points.regions).map(([region, values]) => ({
    region,
    first: mean(values.slice(0, tenth)),
    last: mean(values.slice(-tenth)),
    share: run.gradient_share[region] ?? null,
    cover: run.coverage[region] ?? 0,
  }));
  return rows.filter(({ first, last }) => first === first && last === last);
}

/** @param {number[]} values */
function mean(values) {
  const known = values.filter((value) => value === value);
  return known.reduce((sum, value) => sum + value, 0) / known.length;
}
