// The pixels of the mask overlay: picture, regions and lines, mixed by tables so that a slider can be dragged.
import { personNumbers, readPixels, regionIndices, softStrength } from "../lib/previews.mjs";

/**
 * @typedef {import("../lib/palette.mjs").Colour} Colour
 * @typedef {import("../lib/previews.mjs").Preview} Preview
 * @typedef {{picture: ImageData, regions: Uint8Array, soft: Uint8Array, persons: Uint8Array,
 *   lines: Map<string, Uint32Array>, drawn: ImageData}} Layers of one preview; `drawn` is what the last paint made
 * @typedef {{colours: Colour[], shares: number[], soft: number, outline: boolean, persons: boolean,
 *   pointed: number, thickness: number}} Look
 *   colour and share 0..1 of each region; index of the soft layer or -1; lines instead of areas; a line around each
 *   person; 1 + index of the region that is pointed at, or 0; pixels that a line is wide
 */

const WHITE = 0xffffffff;
const BLACK = 0xff000000;

/**
 * @param {Preview} preview
 * @returns {Promise<Layers>}
 */
export async function readLayers(preview) {
  const [picture, map] = await Promise.all([readPixels(preview.picture), readPixels(preview.map)]);
  return {
    picture,
    regions: regionIndices(map, preview.regions),
    soft: softStrength(map),
    persons: personNumbers(map, preview.persons ?? 0),
    lines: new Map(),
    drawn: new ImageData(picture.width, picture.height),
  };
}

/**
 * Draw the layers.
 * @param {Layers} layers
 * @param {Look} look
 * @returns {ImageData} `layers.drawn`
 */
export function paint(layers, look) {
  const pixels = new Uint32Array(layers.drawn.data.buffer);
  const areas = look.outline ? look.shares.map(() => 0) : look.shares;
  mixRegions(pixels, layers, look.colours, areas);
  if (look.soft >= 0 && areas[look.soft] > 0) {
    mixSoft(pixels, layers.soft, look.colours[look.soft], areas[look.soft]);
  }
  if (look.persons) {
    for (const at of linesOf(layers, "persons", look.thickness)) pixels[at] = WHITE;
  }
  if (look.outline) drawOutlines(pixels, layers, look);
  if (look.pointed) drawDashes(pixels, layers, look);
  return layers.drawn;
}

/**
 * A table row per region, the first for "no region": what each 8-bit value becomes, by channel.
 * @param {Colour[]} colours
 * @param {number[]} shares
 */
function mixTables(colours, shares) {
  const tables = new Uint8ClampedArray((colours.length + 1) * 768);
  for (let at = 0; at < tables.length; at++) {
    const region = Math.floor(at / 768) - 1;
    const value = at % 256;
    const share = shares[region] ?? 0;
    tables[at] = share ? value + (colours[region][Math.floor(at / 256) % 3] - value) * share : value;
  }
  return tables;
}

/**
 * @param {Uint32Array} pixels
 * @param {Layers} layers
 * @param {Colour[]} colours
 * @param {number[]} shares
 */
function mixRegions(pixels, { picture, regions }, colours, shares) {
  const tables = mixTables(colours, shares);
  const below = new Uint32Array(picture.data.buffer, picture.data.byteOffset, pixels.length);
  for (let at = 0; at < pixels.length; at++) {
    const value = below[at];
    const row = regions[at] * 768;
    pixels[at] =
      BLACK |
      (tables[row + 512 + ((value >> 16) & 255)] << 16) |
      (tables[row + 256 + ((value >> 8) & 255)] << 8) |
      tables[row + (value & 255)];
  }
}

/**
 * @param {Uint32Array} pixels
 * @param {Uint8Array} strength
 * @param {Colour} colour
 * @param {number} share
 */
function mixSoft(pixels, strength, [red, green, blue], share) {
  const weights = Int32Array.from({ length: 256 }, (_, value) => Math.round((value / 255) * share * 65536));
  for (let at = 0; at < pixels.length; at++) {
    const weight = weights[strength[at]];
    if (!weight) continue;
    const value = pixels[at];
    const r = value & 255;
    const g = (value >> 8) & 255;
    const b = (value >> 16) & 255;
    pixels[at] =
      BLACK |
      ((b + (((blue - b) * weight + 32768) >> 16)) << 16) |
      ((g + (((green - g) * weight + 32768) >> 16)) << 8) |
      (r + (((red - r) * weight + 32768) >> 16));
  }
}

/** @param {Colour} colour */
function packed([red, green, blue]) {
  return (BLACK | (blue << 16) | (green << 8) | red) >>> 0;
}

/**
 * @param {Uint32Array} pixels
 * @param {Layers} layers
 * @param {Look} look
 */
function drawOutlines(pixels, layers, { colours, shares, soft, thickness }) {
  for (const at of linesOf(layers, "regions", thickness)) {
    const region = layers.regions[at] - 1;
    if (shares[region]) pixels[at] = packed(colours[region]);
  }
  if (soft < 0 || !shares[soft]) return;
  for (const at of linesOf(layers, "soft", thickness)) pixels[at] = packed(colours[soft]);
}

/**
 * Black and white dashes, because one of both can be seen on every picture.
 * @param {Uint32Array} pixels
 * @param {Layers} layers
 * @param {Look} look
 */
function drawDashes(pixels, layers, { pointed, soft, thickness }) {
  const isSoft = pointed === soft + 1;
  const width = layers.picture.width;
  const dash = 4 * thickness;
  for (const at of linesOf(layers, isSoft ? "soft" : "regions", thickness)) {
    if (!isSoft && layers.regions[at] !== pointed) continue;
    const place = (at % width) + Math.floor(at / width);
    pixels[at] = Math.floor(place / dash) % 2 ? WHITE : BLACK;
  }
}

/**
 * Where the inner edges of a layer's areas are. Each layer and thickness is looked through once.
 * @param {Layers} layers
 * @param {"regions" | "persons" | "soft"} name the soft layer's area is where it is strong by half
 * @param {number} thickness pixels
 * @returns {Uint32Array} places of pixels, row by row
 */
function linesOf(layers, name, thickness) {
  const key = `${name} ${thickness}`;
  let found = layers.lines.get(key);
  if (!found) {
    const areas = name === "soft" ? layers.soft.map((strength) => strength >> 7) : layers[name];
    found = edges(areas, layers.picture.width, thickness);
    layers.lines.set(key, found);
  }
  return found;
}

/**
 * @param {Uint8Array} areas number of each pixel's area, 0: none
 * @param {number} width
 * @param {number} thickness
 */
function edges(areas, width, thickness) {
  const found = [];
  const height = areas.length / width;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const own = areas[at];
      if (!own) continue;
      for (let step = 1; step <= thickness; step++) {
        if (
          (x >= step && areas[at - step] !== own) ||
          (x + step < width && areas[at + step] !== own) ||
          (y >= step && areas[at - step * width] !== own) ||
          (y + step < height && areas[at + step * width] !== own)
        ) {
          found.push(at);
          break;
        }
      }
    }
  }
  return Uint32Array.from(found);
}

/**
 * Where to write each person's number: the pixel of the person that is nearest to the middle of all of them.
 * @param {Layers} layers
 * @returns {{number: number, x: number, y: number}[]} places in shares of width and height
 */
export function personPlaces({ persons, picture: { width, height } }) {
  /** @type {Map<number, {count: number, x: number, y: number}>} */
  const sums = new Map();
  for (let at = 0; at < persons.length; at++) {
    if (!persons[at]) continue;
    const sum = sums.get(persons[at]) ?? { count: 0, x: 0, y: 0 };
    sum.count += 1;
    sum.x += at % width;
    sum.y += Math.floor(at / width);
    sums.set(persons[at], sum);
  }
  return [...sums].sort().map(([number, { count, x, y }]) => {
    const at = nearest(persons, width, number, x / count, y / count);
    return { number, x: ((at % width) + 0.5) / width, y: (Math.floor(at / width) + 0.5) / height };
  });
}

/**
 * @param {Uint8Array} areas
 * @param {number} width
 * @param {number} number
 * @param {number} x
 * @param {number} y
 */
function nearest(areas, width, number, x, y) {
  let best = -1;
  let least = Infinity;
  for (let at = 0; at < areas.length; at++) {
    if (areas[at] !== number) continue;
    const distance = ((at % width) - x) ** 2 + (Math.floor(at / width) - y) ** 2;
    if (distance < least) [best, least] = [at, distance];
  }
  return best;
}
