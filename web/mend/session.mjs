// A person mends the masks of one picture after another: what is opened, saved, taken back, and what happens when
// somebody else has changed the same file meanwhile.
import { History } from "./history.mjs";
import { isEmpty, Layers, UNSAID } from "./layers.mjs";
import * as server from "./server.mjs";
import { cut, windowOf } from "./window.mjs";
import { flagged } from "../lib/doubts.mjs";
import { faultInWords } from "../lib/faults.mjs";
import { text } from "../lib/text.mjs";

/**
 * @typedef {import("./layers.mjs").Box} Box
 * @typedef {import("../lib/doubts.mjs").Doubt} Doubt
 * @typedef {import("./server.mjs").Opened} Opened
 * @typedef {{place: import("./server.mjs").Place | null, name: string, doubts?: Doubt[]}} Item a picture; without `doubts` it
 *   is not known yet whether there are any
 * @typedef {{draw: (box?: Box) => void, opened: () => void, changed: () => void}} Listener `opened`: other layers
 */

/** A picture that was left alone for so long after a change is saved. */
const IDLE = 20_000; // ms
/** How far from a stroke its edges are drawn anew. */
const NEAR = 8; // pixels
/** How often a save is tried when somebody else keeps writing. */
const TRIES = 4;

export class Session {
  /**
   * @param {Item[]} items
   * @param {number} at
   * @param {Listener} listener
   */
  constructor(items, at, listener) {
    this.items = items;
    this.at = at;
    this.listener = listener;
    /** @type {Opened | null} */
    this.opened = null;
    /** @type {Layers | null} */
    this.layers = null;
    /** @type {History | null} */
    this.history = null;
    /** @type {ImageBitmap | null} */
    this.picture = null;
    /** name of the region that is chosen; it stays from picture to picture */
    this.chosen = "";
    this.fault = "";
    this.note = "";
    this.busy = "opening";
    this.savedVersion = 0;
    this.opening = 0;
    /** whether anything was written since it began */
    this.wrote = false;
    this.written = Promise.resolve(true);
  }

  get item() {
    return this.items[this.at];
  }

  /** @returns {number} place of the chosen region among the labels */
  get label() {
    return this.layers?.indexOf(this.chosen) ?? -1;
  }

  get unsaved() {
    return Boolean(this.history && this.history.version !== this.savedVersion);
  }

  /** @returns {Doubt[]} what is not sure in this picture, of regions that nobody has made by hand */
  get doubts() {
    return this.opened?.doubts ?? [];
  }

  /** @param {string} region */
  choose(region) {
    this.chosen = region;
    this.listener.changed();
  }

  /** Open the present picture, whatever was there before. */
  async open() {
    const token = ++this.opening;
    const { place } = this.item;
    Object.assign(this, { busy: "opening", fault: "", note: "", opened: null, layers: null, history: null });
    this.picture?.close();
    this.picture = null;
    this.listener.opened();
    try {
      if (!place) throw new Error(text("mend.noPlace"));
      const reading = server.readPicture(place);
      reading.catch(() => undefined); // it is awaited below, unless the masks fail first
      const [opened, bytes] = await server.read(place);
      const picture = await reading;
      if (token !== this.opening) return picture.close();
      this.picture = picture;
      this.#take(opened, new Layers(opened.width, opened.height, opened.labels, bytes));
    } catch (error) {
      if (token === this.opening) this.fault = faultInWords(error.message);
    }
    if (token !== this.opening) return;
    this.busy = "";
    this.listener.opened();
  }

  /** The view is closed. */
  end() {
    this.opening++; // no answer matters any more
    clearTimeout(this.idle);
    this.picture?.close();
  }

  /**
   * @param {Opened} opened
   * @param {Layers} layers
   */
  #take(opened, layers) {
    this.layers = layers;
    this.history = new History(layers);
    this.savedVersion = 0;
    this.#know(opened);
    if (layers.indexOf(this.chosen) < 0) this.chosen = firstOf(layers);
  }

  /** @param {Opened} opened */
  #know(opened) {
    this.opened = opened;
    this.item.doubts = this.doubts;
  }

  /** Something was done. @param {Box | null} [box] */
  did(box) {
    if (box) this.listener.draw(box);
    clearTimeout(this.idle);
    if (this.unsaved) this.idle = setTimeout(() => this.save(), IDLE);
    this.note = "";
    this.listener.changed();
  }

  /** @param {string} key of what there is to say */
  say(key) {
    this.note = text(`mend.${key}`);
    this.listener.changed();
  }

  undo() {
    if (this.history && !this.history.step) this.did(this.history.undo());
  }

  redo() {
    if (this.history && !this.history.step) this.did(this.history.redo());
  }

  /** Write what is not saved. @returns {Promise<boolean>} whether nothing is unsaved now */
  save() {
    clearTimeout(this.idle);
    this.written = this.written.then(() => this.#save());
    return this.written;
  }

  async #save() {
    this.fault = "";
    for (let time = 0; time < TRIES; time++) {
      if (!this.unsaved || !this.history || !this.layers) return true;
      this.busy = "saving";
      this.listener.changed();
      try {
        if (await this.#write(this.history, this.layers)) break;
      } catch (error) {
        this.fault = text("mend.notSaved", { reason: faultInWords(error.message) });
        break;
      } finally {
        this.busy = "";
      }
    }
    if (this.unsaved && !this.fault) this.fault = text("mend.keepsChanging");
    this.listener.changed();
    return !this.unsaved;
  }

  /**
   * @param {History} history
   * @param {Layers} layers
   * @returns {Promise<boolean>} false: somebody else had written, and what the hand said lies over that now
   */
  async #write(history, layers) {
    const labels = [...history.changed()];
    const { version } = history;
    const base = history.saving();
    const planes = labels.flatMap((label) => [
      layers.values[label],
      Uint8Array.from(layers.hand[label], (said) => (said === UNSAID ? 0 : 255)),
    ]);
    const names = labels.map((label) => layers.labels[label].name);
    try {
      const { place } = this.item;
      const known = /** @type {Opened} */ (this.opened);
      const answer = labels.length ? await server.save(place ?? {}, known.stamp, names, planes) : known;
      if (answer.conflict) {
        history.unsaved(base);
        await this.#layOver(history, layers);
        return false;
      }
      this.wrote ||= labels.length > 0;
      this.savedVersion = version;
      this.#know(answer);
      return true;
    } catch (error) {
      history.unsaved(base);
      throw error;
    }
  }

  /**
   * Somebody else has changed the file: take what is there now, and put what was said here on top.
   * @param {History} history
   * @param {Layers} layers
   */
  async #layOver(history, layers) {
    const [opened, bytes] = await server.read(this.item.place ?? {});
    if (opened.width !== layers.width || opened.height !== layers.height) throw new Error(text("mend.otherSize"));
    const fresh = new Layers(opened.width, opened.height, opened.labels, bytes);
    const places = layers.labels.map(({ name }) => fresh.indexOf(name));
    this.#take(opened, fresh);
    const now = /** @type {History} */ (this.history);
    now.begin();
    history.eachOwn((at, own) => {
      const [x, y] = [at % fresh.width, Math.floor(at / fresh.width)];
      now.touch({ left: x, top: y, right: x + 1, bottom: y + 1 });
      fresh.impose(
        at,
        own.filter(({ label }) => places[label] >= 0).map(({ label, hand }) => ({ label: places[label], hand })),
      );
    });
    now.commit();
    this.note = text("mend.conflict");
    this.listener.opened();
  }

  /**
   * Show another picture, once this one is saved.
   * @param {number} at
   * @returns {Promise<boolean>} whether it is shown
   */
  async go(at) {
    if (!(await this.save())) return false;
    this.at = (at + this.items.length) % this.items.length;
    await this.open();
    return true;
  }

  /** Show the next picture that needs a look. */
  async goToDoubtful() {
    if (!(await this.save())) return;
    for (let step = 1; step <= this.items.length; step++) {
      const item = this.items[(this.at + step) % this.items.length];
      if (!item.place) continue;
      if (!item.doubts) {
        const found = await server.open(item.place).catch(() => null);
        item.doubts = found?.doubts ?? [];
      }
      if (!flagged(item.doubts).length || step === this.items.length) continue;
      await this.go(this.at + step);
      return;
    }
    this.say(this.doubts.length ? "noOtherDoubts" : "noDoubts");
  }

  /**
   * Forget what the hand said of these regions, or of all.
   * @param {string[] | null} regions
   */
  takeBack(regions) {
    this.written = this.written.then(() => this.#save()).then((saved) => saved && this.#takeBack(regions));
    return this.written;
  }

  /** @param {string[] | null} regions */
  async #takeBack(regions) {
    const { history, layers, opened } = this;
    if (!history || !layers || !opened) return false;
    this.busy = "saving";
    this.listener.changed();
    try {
      let answer = await server.takeBack(this.item.place ?? {}, opened.stamp, regions);
      if (answer.conflict) answer = await server.takeBack(this.item.place ?? {}, answer.stamp, regions);
      if (answer.conflict) throw new Error(text("mend.keepsChanging"));
      this.wrote = true;
      if (!alike(answer, opened)) await this.open();
      else this.#unsay(answer, regions);
      return true;
    } catch (error) {
      this.fault = faultInWords(error.message);
      return false;
    } finally {
      this.busy = "";
      this.listener.changed();
    }
  }

  /**
   * @param {Opened} opened
   * @param {string[] | null} regions
   */
  #unsay(opened, regions) {
    const history = /** @type {History} */ (this.history);
    const layers = /** @type {Layers} */ (this.layers);
    history.begin();
    history.touch(layers.box);
    layers.labels.forEach(({ name }, label) => {
      if (regions && !regions.includes(name)) return;
      layers.hand[label].forEach((said, at, hand) => {
        if (!said) return;
        hand[at] = UNSAID;
        layers.settle(at, label);
      });
    });
    history.commit();
    history.saving(); // the server has it already
    this.savedVersion = history.version;
    this.#know(opened);
    this.listener.draw();
  }

  /**
   * Draw the border of the chosen region along the edges of the picture.
   * @param {{box: Box | null, near?: (box: Box, margin: number) => Uint8Array} | null} stroke around it only; null: everywhere
   */
  async snap(stroke) {
    const { history, layers, label } = this;
    const window = layers && label >= 0 && windowOf(layers, label, stroke && stroke.box);
    if (!history || !layers || !window || isEmpty(window)) return;
    const sent = cut(layers, label, window);
    const allowed = stroke?.near?.(window, NEAR);
    const { version } = history;
    let found;
    try {
      found = await server.snap(this.item.place ?? {}, window, sent);
    } catch (error) {
      this.fault = faultInWords(error.message);
      this.listener.changed();
      return;
    }
    if (history !== this.history) return;
    const own = !history.step; // else it belongs to the stroke that is being made
    history.begin();
    history.touch(window);
    for (let y = window.top, from = 0; y < window.bottom; y++) {
      for (let x = window.left; x < window.right; x++, from++) {
        const at = y * layers.width + x;
        if (found[from] === sent[from] || (allowed && !allowed[from])) continue;
        if (layers.values[label][at] !== sent[from]) continue; // painted over meanwhile
        if (found[from] > sent[from] || layers.canGiveBack(at, label)) layers.say(at, label, found[from]);
      }
    }
    if (own) history.commit(Boolean(stroke) && history.version === version);
    this.did(window);
  }
}

/** @param {Layers} layers @returns {string} the first region that has something of the picture */
function firstOf({ labels }) {
  return (labels.find(({ name }) => name === "clothing") ?? labels[0])?.name ?? "";
}

/**
 * @param {Opened} one
 * @param {Opened} other
 */
function alike(one, other) {
  const shape = ({ width, height, labels }) => JSON.stringify([width, height, labels.map(({ name }) => name)]);
  return shape(one) === shape(other);
}
