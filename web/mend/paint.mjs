// The masks as colours on a canvas that lies over the picture. Only what has changed is drawn anew.
import { clipped, isEmpty } from "./layers.mjs";

/**
 * @typedef {import("./layers.mjs").Layers} Layers
 * @typedef {import("./layers.mjs").Box} Box
 * @typedef {import("../lib/palette.mjs").Colour} Colour
 */

const FULL = 255;
/** Background is context: it stays readable under a thinner colour. */
const THIN = 128;

const isLittleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;

/**
 * @param {number} red
 * @param {number} green
 * @param {number} blue
 * @param {number} alpha all 0..255
 * @returns {number} a pixel
 */
function pixel(red, green, blue, alpha) {
  return isLittleEndian
    ? ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0
    : ((red << 24) | (green << 16) | (blue << 8) | alpha) >>> 0;
}

export class Painter {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Layers} layers
   */
  constructor(canvas, layers) {
    this.layers = layers;
    Object.assign(canvas, { width: layers.width, height: layers.height });
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.image = new ImageData(layers.width, layers.height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    /** @type {Colour[]} of the labels */
    this.colours = [];
    /** the label that is chosen: it is shown alone when it overlaps all others */
    this.chosen = -1;
    /** whether what the machine found is shown, without the hand */
    this.before = false;
  }

  /**
   * Draw a box anew.
   * @param {Box} [box] all of it
   */
  draw(box = this.layers.box) {
    const inner = clipped(box, this.layers);
    if (isEmpty(inner)) return;
    const { labels } = this.layers;
    if (labels[this.chosen]?.soft) this.#single(inner, this.chosen);
    else {
      this.#parts(inner);
      labels.forEach(({ part, soft }, at) => {
        if (!part && !soft) this.#above(inner, at);
      });
    }
    const { left, top, right, bottom } = inner;
    this.context.putImageData(this.image, 0, 0, left, top, right - left, bottom - top);
  }

  /** @returns {Uint8Array[]} */
  get planes() {
    return this.before ? this.layers.machine : this.layers.values;
  }

  /** @param {number} label */
  #alpha(label) {
    return label === this.layers.background ? THIN : FULL;
  }

  /** @param {Box} box */
  #parts({ left, top, right, bottom }) {
    const { pixels, planes, colours } = this;
    const { parts, width } = this.layers;
    const count = parts.length;
    const alphas = parts.map((part) => this.#alpha(part));
    const solid = parts.map((part, place) => pixel(...colours[part], alphas[place]));
    const layers = parts.map((part) => planes[part]);
    const [reds, greens, blues] = [0, 1, 2].map((channel) => parts.map((part) => colours[part][channel]));
    for (let y = top; y < bottom; y++) {
      const end = y * width + right;
      next: for (let at = y * width + left; at < end; at++) {
        let red = 0;
        let green = 0;
        let blue = 0;
        let alpha = 0;
        for (let place = 0; place < count; place++) {
          const value = layers[place][at];
          if (value === FULL) {
            pixels[at] = solid[place];
            continue next;
          }
          if (!value) continue;
          const share = value * alphas[place];
          red += share * reds[place];
          green += share * greens[place];
          blue += share * blues[place];
          alpha += share;
        }
        pixels[at] = alpha
          ? pixel((red / alpha) | 0, (green / alpha) | 0, (blue / alpha) | 0, Math.min(FULL, (alpha / FULL + 0.5) | 0))
          : 0;
      }
    }
  }

  /** A layer over the parts. @param {Box} box @param {number} label */
  #above({ left, top, right, bottom }, label) {
    const plane = this.planes[label];
    const { width } = this.layers;
    const { data } = this.image;
    const colour = this.colours[label];
    for (let y = top; y < bottom; y++) {
      for (let at = y * width + left; at < y * width + right; at++) {
        const share = plane[at] / FULL;
        if (!share) continue;
        for (let channel = 0; channel < 3; channel++) {
          data[4 * at + channel] += (colour[channel] - data[4 * at + channel]) * share;
        }
        data[4 * at + 3] = Math.max(data[4 * at + 3], plane[at]);
      }
    }
  }

  /** A layer by itself. @param {Box} box @param {number} label */
  #single({ left, top, right, bottom }, label) {
    const plane = this.planes[label];
    const { width } = this.layers;
    const tones = Array.from({ length: 256 }, (_, value) => pixel(...this.colours[label], value));
    for (let y = top; y < bottom; y++) {
      for (let at = y * width + left; at < y * width + right; at++) this.pixels[at] = tones[plane[at]];
    }
  }
}
