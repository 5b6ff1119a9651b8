// The miniature of the weights panel: a grey picture under the weight that each place of it has in training.
import { element } from "../lib/panel.mjs";
import { readPixels, regionIndices, softStrength } from "../lib/previews.mjs";

/** @typedef {import("../lib/previews.mjs").Preview} Preview @typedef {import("./values.mjs").Effective} Effective */

/** The scale's end; what weighs more looks the same. */
export const MOST = 2;
/** What counts everywhere alike when the regions are off. */
const ALIKE = 1;

/** The scale from 0 to MOST in equal steps: ever lighter, so that it reads without telling hues apart. */
const SCALE = [
  [48, 26, 110],
  [122, 36, 128],
  [205, 66, 92],
  [248, 142, 50],
  [252, 236, 130],
];
const FAINTEST = 0.5;
const STRONGEST = 0.8;
// what is free is dark and hatched
const FREE = { between: 0.45, stripe: 0.8 };
const STRIPES = 28; // along the longer side
/** Every strength of the soft layer. */
const STRENGTHS = 256;

/**
 * The colour of a weight.
 * @param {number} weight
 * @returns {[number, number, number, number]} red, green, blue in 0..255, alpha in 0..1
 */
export function heat(weight) {
  const share = Math.min(weight, MOST) / MOST;
  const place = Math.min(share * (SCALE.length - 1), SCALE.length - 1 - 1e-9);
  const [low, high] = [SCALE[Math.floor(place)], SCALE[Math.floor(place) + 1]];
  const colour = low.map((value, channel) => Math.round(value + (high[channel] - value) * (place % 1)));
  return /** @type {any} */ ([...colour, FAINTEST + (STRONGEST - FAINTEST) * share]);
}

// a pixel as a number has its bytes in the machine's order
const packed = new Uint32Array(1);
const bytes = new Uint8ClampedArray(packed.buffer);

/**
 * @param {number} weight NaN: not known
 * @param {boolean} stripe whether it is on a line of the hatching
 * @returns {number} a pixel
 */
function pixel(weight, stripe) {
  if (Number.isNaN(weight)) return 0;
  const free = [0, 0, 0, stripe ? FREE.stripe : FREE.between];
  const [red, green, blue, alpha] = weight > 0 ? heat(weight) : free;
  bytes.set([red, green, blue, Math.round(alpha * 255)]);
  return packed[0];
}

/**
 * The weights of a picture's regions.
 * @param {Effective} effective
 * @param {Preview["regions"]} regions
 * @returns {{weights: number[], soft: number}} at 0 what no region covers, at k the k-th region; and of the soft layer
 */
function regionWeights(effective, regions) {
  if (!effective.enabled) return { weights: [ALIKE, ...regions.map(() => ALIKE)], soft: 0 };
  const soft = regions.find((region) => region.soft);
  return {
    weights: [effective.fallback, ...regions.map(({ name }) => effective.weights[name] ?? 0)],
    soft: soft ? (effective.weights[soft.name] ?? 0) : 0,
  };
}

/**
 * The heat of every kind of pixel: for each region twice (beside and on a stripe) all strengths of the soft layer.
 * @param {number[]} weights
 * @param {number} soft
 * @returns {Uint32Array}
 */
function heatTable(weights, soft) {
  const table = new Uint32Array(weights.length * 2 * STRENGTHS);
  for (let kind = 0; kind < weights.length * 2; kind++) {
    const weight = weights[kind >> 1];
    const row = table.subarray(kind * STRENGTHS, (kind + 1) * STRENGTHS);
    if (soft === 0) row.fill(pixel(weight, kind % 2 === 1));
    else row.forEach((_, strength) => (row[strength] = pixel(weight + (soft * strength) / 255, kind % 2 === 1)));
  }
  return table;
}

/** One picture, with its regions as places in a heat table. */
class Page {
  /**
   * @param {Preview} preview
   * @param {ImageData} picture
   * @param {ImageData} map
   */
  constructor(preview, picture, map) {
    this.preview = preview;
    const { width, height } = picture;
    this.grey = greyed(picture);
    this.indices = regionIndices(map, preview.regions);
    this.strengths = softStrength(map);
    this.kinds = new Uint32Array(width * height);
    const period = Math.max(4, Math.round(Math.max(width, height) / STRIPES));
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const stripe = (x + y) % period < period / 3 ? 1 : 0;
        this.kinds[at] = (this.indices[at] * 2 + stripe) * STRENGTHS + this.strengths[at];
      }
    }
    this.heat = new ImageData(width, height);
    this.pixels = new Uint32Array(this.heat.data.buffer);
  }

  /** @param {Effective} effective */
  repaint(effective) {
    const { weights, soft } = regionWeights(effective, this.preview.regions);
    const table = heatTable(weights, soft);
    const { kinds, pixels } = this;
    for (let at = 0; at < pixels.length; at++) pixels[at] = table[kinds[at]];
    return this.heat;
  }
}

/** @param {ImageData} picture */
function greyed({ data, width, height }) {
  const grey = new ImageData(width, height);
  for (let at = 0; at < data.length; at += 4) {
    // Rec. 709
    const light = 0.2126 * data[at] + 0.7152 * data[at + 1] + 0.0722 * data[at + 2];
    grey.data[at] = grey.data[at + 1] = grey.data[at + 2] = light;
    grey.data[at + 3] = 255;
  }
  return grey;
}

export class WeightMap {
  /**
   * @param {() => Effective} effective
   * @param {(place: {region: string | null, weight: number} | null) => void} onHover the place under the pointer:
   *   its region (null: none covers it) and weight
   */
  constructor(effective, onHover) {
    this.effective = effective;
    /** @type {Preview[]} */
    this.previews = [];
    this.number = 0;
    /** @type {Page | null} */
    this.page = null;
    this.below = element("canvas", { width: 1, height: 1, aria: { hidden: "true" } });
    this.above = element("canvas", { className: "sf-heat", width: 1, height: 1 });
    this.above.setAttribute("role", "img");
    this.root = element("div", { className: "sf-weight-map" }, [this.below, this.above]);
    this.above.addEventListener("pointermove", (event) => onHover(this.at(event)));
    this.above.addEventListener("pointerleave", () => onHover(null));
  }

  /**
   * Show these pictures' weights.
   * @param {Preview[]} previews
   */
  async take(previews) {
    if (previews === this.previews) return;
    this.previews = previews;
    await this.turn(Math.max(0, Math.min(this.number, previews.length - 1)));
  }

  /**
   * @param {number} number of the picture, counted from 0; it goes round
   * @throws when its files cannot be read
   */
  async turn(number) {
    const count = this.previews.length;
    this.number = count ? (number + count) % count : 0;
    const preview = this.previews[this.number];
    if (!preview) {
      this.page = null;
      this.resize(1, 1);
      return;
    }
    const [picture, map] = await Promise.all([readPixels(preview.picture), readPixels(preview.map)]);
    if (preview !== this.previews[this.number]) return; // another was asked for meanwhile
    this.page = new Page(preview, picture, map);
    this.resize(picture.width, picture.height);
    this.below.getContext("2d").putImageData(this.page.grey, 0, 0);
    this.paint();
  }

  /**
   * Both canvases empty, of this size.
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    for (const canvas of [this.below, this.above]) Object.assign(canvas, { width, height });
  }

  paint() {
    if (this.page) this.above.getContext("2d").putImageData(this.page.repaint(this.effective()), 0, 0);
  }

  /**
   * @param {PointerEvent} event
   * @returns {{region: string | null, weight: number} | null} null beside the picture
   */
  at(event) {
    if (!this.page) return null;
    const box = this.above.getBoundingClientRect();
    const { width, height } = this.page.heat;
    // the picture is fitted into the element
    const scale = Math.min(box.width / width, box.height / height);
    const x = Math.floor((event.clientX - box.left - (box.width - width * scale) / 2) / scale);
    const y = Math.floor((event.clientY - box.top - (box.height - height * scale) / 2) / scale);
    if (x < 0 || y < 0 || x >= width || y >= height) return null;
    const place = y * width + x;
    const { regions } = this.page.preview;
    const { weights, soft } = regionWeights(this.effective(), regions);
    const index = this.page.indices[place];
    return {
      region: index ? regions[index - 1].name : null,
      weight: weights[index] + (soft * this.page.strengths[place]) / 255,
    };
  }
}
