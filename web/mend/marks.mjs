// What is drawn above the masks and is no part of them: the ring of the brush, the keyboard's cursor, an outline that is
// being drawn, and the place that the segmenter is not sure of. Black and white lines: one of both is seen anywhere.

/** @typedef {import("./stage.mjs").Stage} Stage */

const SVG = "http://www.w3.org/2000/svg";
const CROSS = 9; // pixels of the page, each arm
const MARGIN = 6; // around a place that is pointed out

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {SVGElement[]} [children]
 */
function shape(tag, attributes, children = []) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

export class Marks {
  /** @param {Stage} stage */
  constructor(stage) {
    this.stage = stage;
    /** @type {[number, number, number, number] | null} a place that is pointed out, in shares of the picture */
    this.place = null;
    this.root = shape("svg", { class: "sf-mend-marks", "aria-hidden": "true" });
  }

  draw() {
    const shapes = [...this.#place(), ...this.#outline(), ...this.#cursor()];
    this.root.replaceChildren(...shapes);
  }

  /**
   * The same line twice.
   * @param {string} tag
   * @param {Record<string, string | number>} attributes
   */
  #both(tag, attributes) {
    return ["sf-mend-dark", "sf-mend-bright"].map((kind) => shape(tag, { ...attributes, class: kind }));
  }

  #cursor() {
    const { cursor, tools, zoom, keyed, doing } = this.stage;
    if (!cursor || doing === "pan") return [];
    const { x, y } = this.stage.toStage(cursor);
    const ring = tools.hasSize ? this.#both("circle", { cx: x, cy: y, r: Math.max(1, (tools.settings.size / 2) * zoom) }) : [];
    if (!keyed) return ring;
    const d = `M${x - CROSS} ${y}H${x + CROSS}M${x} ${y - CROSS}V${y + CROSS}`;
    return [...ring, ...this.#both("path", { d })];
  }

  #outline() {
    const { tools, cursor } = this.stage;
    if (!tools.corners.length) return [];
    const points = [...tools.corners, ...(cursor ? [cursor] : [])].map((point) => this.stage.toStage(point));
    const d = points.map(({ x, y }, place) => `${place ? "L" : "M"}${x} ${y}`).join("");
    const corners = points.slice(0, tools.corners.length);
    const dots = corners.flatMap(({ x, y }) => this.#both("circle", { cx: x, cy: y, r: 3 }));
    return [...this.#both("path", { d: corners.length > 1 ? `${d}Z` : d }), ...dots];
  }

  #place() {
    if (!this.place) return [];
    const { width, height } = this.stage.size;
    const [left, top, right, bottom] = this.place;
    const from = this.stage.toStage({ x: left * width, y: top * height });
    const to = this.stage.toStage({ x: right * width, y: bottom * height });
    return this.#both("rect", {
      x: from.x - MARGIN,
      y: from.y - MARGIN,
      width: to.x - from.x + 2 * MARGIN,
      height: to.y - from.y + 2 * MARGIN,
      rx: 6,
    });
  }
}
