// A grid of tiles of one size that makes only those in sight, so that thousands of pictures do not matter.
import { element } from "../lib/panel.mjs";

const TILE = 76; // pixels, the least width
const NAME = 17;
const GAP = 4;
const ROWS_BEYOND = 2; // made above and below what is in sight

/**
 * @template Item
 * @typedef {{key: (item: Item) => string, draw: (item: Item) => HTMLElement, open: (index: number) => void}} Drawing
 * `key` tells whether a tile has to be drawn anew
 */

let grids = 0;

/**
 * Take something out of the document, and end the loading of its pictures: removal alone does not.
 * @param {Element} part
 */
export function discard(part) {
  for (const picture of part.querySelectorAll("img")) picture.removeAttribute("src");
  part.remove();
}

/** @template Item */
export class Grid {
  /**
   * @param {string} label
   * @param {Drawing<Item>} drawing
   */
  constructor(label, drawing) {
    this.drawing = drawing;
    /** @type {Item[]} */
    this.items = [];
    this.active = 0;
    this.id = `sf-grid-${++grids}`;
    this.columns = 1;
    this.row = TILE + NAME + GAP;
    /** @type {Map<string, HTMLElement>} by key */
    this.tiles = new Map();
    this.sheet = element("div", { className: "sf-dataset-sheet", role: "presentation" });
    // focus stays on the list, and a tile may go while it is scrolled out of sight
    this.root = element("div", { className: "sf-dataset-grid", role: "listbox", tabIndex: 0 }, [this.sheet]);
    this.root.dataset.captureWheel = "true"; // the Vue renderer leaves the wheel to it
    this.label(label);
    this.root.addEventListener("scroll", () => this.paint()); // once a frame
    this.root.addEventListener("keydown", (event) => this.press(event));
    this.root.addEventListener("wheel", (event) => this.wheel(event));
    this.sheet.addEventListener("click", (event) => {
      const tile = event.target.closest("[role=option]");
      if (tile) this.choose(Number(tile.dataset.index), true);
    });
    new ResizeObserver(() => this.measure()).observe(this.root);
  }

  /** @param {string} label */
  label(label) {
    this.root.setAttribute("aria-label", label);
  }

  /** @param {Item[]} items */
  show(items) {
    this.items = items;
    this.active = Math.max(0, Math.min(this.active, items.length - 1));
    this.measure();
  }

  measure() {
    const width = this.root.clientWidth;
    if (!width) return;
    this.columns = Math.max(1, Math.floor((width + GAP) / (TILE + GAP)));
    const side = (width - GAP * (this.columns - 1)) / this.columns;
    this.row = Math.floor(side) + NAME + GAP;
    this.sheet.style.height = `${Math.ceil(this.items.length / this.columns) * this.row}px`;
    this.root.style.setProperty("--sf-tile", `${Math.floor(side)}px`);
    this.paint();
  }

  /** Make the tiles in sight, and drop the others. */
  paint() {
    if (!this.root.clientHeight) return;
    const first = Math.max(0, Math.floor(this.root.scrollTop / this.row) - ROWS_BEYOND);
    const last = Math.ceil((this.root.scrollTop + this.root.clientHeight) / this.row) + ROWS_BEYOND;
    const kept = new Map();
    for (let at = first * this.columns; at < Math.min(last * this.columns, this.items.length); at++) {
      const key = this.drawing.key(this.items[at]);
      const tile = this.tiles.get(key) ?? this.make(this.items[at]);
      kept.set(key, tile);
      this.place(tile, at);
    }
    this.drop([...this.tiles.keys()].filter((key) => !kept.has(key)));
    this.tiles = kept;
    this.mark();
  }

  /**
   * Forget tiles: what is in sight is drawn anew when next it is painted.
   * @param {Iterable<string>} keys
   */
  drop(keys) {
    for (const key of keys) {
      const tile = this.tiles.get(key);
      if (tile) discard(tile);
      this.tiles.delete(key);
    }
  }

  /** @param {Item} item */
  make(item) {
    const tile = this.drawing.draw(item);
    tile.setAttribute("role", "option");
    this.sheet.append(tile);
    return tile;
  }

  /**
   * @param {HTMLElement} tile
   * @param {number} at
   */
  place(tile, at) {
    const column = at % this.columns;
    const x = `calc(${column} * (var(--sf-tile) + ${GAP}px))`;
    tile.style.transform = `translate(${x}, ${Math.floor(at / this.columns) * this.row}px)`;
    tile.id = `${this.id}-${at}`;
    tile.dataset.index = String(at);
    tile.setAttribute("aria-posinset", String(at + 1));
    tile.setAttribute("aria-setsize", String(this.items.length));
  }

  mark() {
    for (const tile of this.tiles.values()) {
      tile.setAttribute("aria-selected", String(Number(tile.dataset.index) === this.active));
    }
    const present = this.items.length && this.sheet.querySelector(`#${this.id}-${this.active}`);
    if (present) this.root.setAttribute("aria-activedescendant", present.id);
    else this.root.removeAttribute("aria-activedescendant");
  }

  /**
   * @param {number} index
   * @param {boolean} [open]
   */
  choose(index, open = false) {
    if (!this.items.length) return;
    this.active = Math.max(0, Math.min(index, this.items.length - 1));
    const top = Math.floor(this.active / this.columns) * this.row;
    const { scrollTop, clientHeight } = this.root;
    if (top < scrollTop) this.root.scrollTop = top;
    if (top + this.row > scrollTop + clientHeight) this.root.scrollTop = top + this.row - clientHeight;
    this.paint();
    if (open) this.drawing.open(this.active);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const page = this.columns * Math.max(1, Math.floor(this.root.clientHeight / this.row));
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.columns,
      ArrowDown: this.columns,
      PageUp: -page,
      PageDown: page,
      Home: -Infinity,
      End: Infinity,
    };
    if (event.key === "Enter" || event.key === " ") this.choose(this.active, true);
    else if (event.key in steps) this.choose(this.active + steps[event.key]);
    else return;
    event.preventDefault();
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    const scrolls = this.root.scrollHeight > this.root.clientHeight;
    // what the list does not need zooms the editor
    if (scrolls && !event.ctrlKey && !event.metaKey) event.stopPropagation();
  }
}
