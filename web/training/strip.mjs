// The samples of a training: the latest beside what is said, all of them as a strip over time, and each large.
import { api } from "../../../scripts/api.js";
import { queryOf } from "../dataset/source.mjs";
import { button, entitle } from "../lib/controls.mjs";
import { openDialog } from "../lib/dialog.mjs";
import { element } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";

/**
 * @typedef {{filename: string, subfolder: string, type: string, step: number}} Output below ComfyUI's folders
 * @typedef {{folder: string, name: string, step: number}} Elsewhere in a run folder
 * @typedef {Output | Elsewhere} Sample
 * @typedef {import("./runs.mjs").Run} Run
 */

const SMALL = 192;
const LARGE = 4096; // pixels of the longer side, where the server makes them smaller

/**
 * @param {Sample} sample
 * @param {Run} run the run's folder may have had a picture of this name in an earlier training
 * @param {number} side
 */
function urlOf(sample, { run }, side) {
  if ("folder" in sample) {
    const query = { folder: sample.folder, name: sample.name, side: String(side), stamp: run };
    return api.apiURL(`/semantic_focus/training/sample?${queryOf(query)}`);
  }
  const { filename, subfolder, type } = sample;
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type, run })}`);
}

/** @param {Run | undefined} run @returns {Sample[]} the earliest first */
const samplesOf = (run) => run?.samples ?? [];

export class Samples {
  constructor() {
    /** @type {Run | undefined} */
    this.run = undefined;
    this.picture = element("img", { alt: "" });
    /** The latest, small. */
    this.latest = button(() => this.enlarge(samplesOf(this.run).length - 1), { className: "sf-button sf-training-sample" }, [
      this.picture,
    ]);
    /** All of them. */
    this.strip = element("div", { className: "sf-training-strip", role: "group" });
    /** @type {Set<() => void>} redraw what is shown large */
    this.large = new Set();
  }

  /** @param {Run | undefined} run */
  show(run) {
    this.run = run;
    const samples = samplesOf(run);
    const last = samples.at(-1);
    this.latest.classList.toggle("sf-hidden", !last);
    this.strip.classList.toggle("sf-hidden", samples.length < 2);
    this.strip.setAttribute("aria-label", text("training.samples"));
    if (!run || !last) return;
    const url = urlOf(last, run, SMALL);
    if (this.picture.getAttribute("src") !== url) this.picture.src = url;
    entitle(this.latest, text("training.sample", { step: last.step }));
    this.drawStrip(run, samples);
    for (const redraw of this.large) redraw();
  }

  /**
   * @param {Run} run
   * @param {Sample[]} samples
   */
  drawStrip(run, samples) {
    const drawn = JSON.stringify([run.run, samples.map(({ step }) => step), text("training.sample")]);
    if (this.drawn === drawn) return;
    this.drawn = drawn;
    const atEnd = this.strip.scrollLeft >= this.strip.scrollWidth - this.strip.clientWidth - 1;
    const tiles = samples.map((sample, index) => {
      const picture = element("img", { alt: "", decoding: "async", draggable: false, src: urlOf(sample, run, SMALL) });
      const step = element("span", { textContent: sample.step });
      const tile = button(() => this.enlarge(index), { className: "sf-button" }, [picture, step]);
      entitle(tile, text("training.sample", { step: sample.step }));
      return tile;
    });
    this.strip.replaceChildren(...tiles);
    if (atEnd) this.strip.scrollLeft = this.strip.scrollWidth;
  }

  /** @param {number} index of the first that is shown; the others by buttons or arrow keys */
  async enlarge(index) {
    let at = index;
    let latest = index === samplesOf(this.run).length - 1;
    const picture = element("img", { className: "sf-training-picture" });
    const step = element("span", { className: "sf-status", role: "status" });
    const show = () => {
      const samples = samplesOf(this.run);
      if (latest) at = samples.length - 1;
      const sample = samples[at];
      if (!sample || !this.run) return;
      const url = urlOf(sample, this.run, LARGE);
      if (picture.getAttribute("src") !== url) picture.src = url;
      picture.alt = step.textContent = text("training.sample", { step: sample.step });
      [back.disabled, next.disabled] = [at <= 0, at >= samples.length - 1];
    };
    const go = (by) => {
      at = Math.max(0, Math.min(at + by, samplesOf(this.run).length - 1));
      latest = at === samplesOf(this.run).length - 1; // the last stays the last when another comes
      show();
    };
    const back = button(() => go(-1), { textContent: "◀" });
    const next = button(() => go(1), { textContent: "▶" });
    entitle(back, text("training.earlier"));
    entitle(next, text("training.later"));
    const bar = element("div", { className: "sf-row" }, [back, next, step]);
    const content = element("div", { className: "sf-training-samples" }, [bar, picture]);
    this.large.add(show);
    const closed = openDialog(text("training.samples"), content);
    content.closest("dialog")?.addEventListener("keydown", ({ key }) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[key];
      if (by) go(by);
    });
    show();
    await closed;
    this.large.delete(show);
  }
}
