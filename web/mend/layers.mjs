// The masks of one picture while a person mends them: what the machine found, what the hand said, and the two put
// together, by the very rule by which the server puts them together.

/**
 * @typedef {{name: string, part: boolean, soft: boolean}} Label a part shares every pixel out with the other parts
 * @typedef {{left: number, top: number, right: number, bottom: number}} Box of pixels; right and bottom are outside
 */

export const BACKGROUND = "background";
/** A hand value is kept as 1 + value; 0 is "the hand said nothing". */
export const UNSAID = 0;
/** Who keeps a pixel that several claim, first wins; background takes what nobody has. */
const PRIORITY = ["face", "hair", "clothing", "body"];
const FULL = 255;
/** Parts that have more than this of a pixel together were left to overlap. */
const SHARED_OUT = 260;

export class Layers {
  /**
   * @param {number} width
   * @param {number} height
   * @param {Label[]} labels
   * @param {Uint8Array} bytes as the server sends them: all values, all said, all of the machine, the persons
   */
  constructor(width, height, labels, bytes) {
    const size = width * height;
    const count = labels.length;
    if (bytes.length !== size * (3 * count + 1)) {
      throw new Error(`${bytes.length} bytes for ${count} masks of ${width}x${height}`);
    }
    this.width = width;
    this.height = height;
    this.labels = labels;
    const plane = (at) => bytes.subarray(at * size, (at + 1) * size);
    /** @type {Uint8Array[]} what is shown: machine and hand put together */
    this.values = labels.map((_, at) => plane(at));
    /** @type {Uint8Array[]} what the machine found */
    this.machine = labels.map((_, at) => plane(2 * count + at));
    /** number of the person at each pixel, 0: nobody */
    this.persons = plane(3 * count);
    /** @type {Uint16Array[]} what the hand said: UNSAID, or 1 + value */
    this.hand = labels.map((_, at) => {
      const [values, said] = [this.values[at], plane(count + at)];
      const hand = new Uint16Array(size);
      for (let pixel = 0; pixel < size; pixel++) if (said[pixel]) hand[pixel] = 1 + values[pixel];
      return hand;
    });
    /** place of the background among the labels, or -1 */
    this.background = labels.findIndex(({ name, part }) => part && name === BACKGROUND);
    const rank = ({ name }) => PRIORITY.indexOf(name);
    /** places of the other parts, in the order in which they are served */
    this.figure = labels.flatMap(({ part }, at) => (part && at !== this.background ? [at] : []));
    this.figure.sort((one, other) => rank(labels[one]) - rank(labels[other]));
    /** places of all parts, background last */
    this.parts = [...this.figure, ...(this.background < 0 ? [] : [this.background])];
    /** whether parts give way to each other */
    this.shared = this.#isShared();
  }

  /** @param {string} name @returns {number} -1: none */
  indexOf(name) {
    return this.labels.findIndex((label) => label.name === name);
  }

  /** @returns {Box} of the whole picture */
  get box() {
    return { left: 0, top: 0, right: this.width, bottom: this.height };
  }

  /**
   * Put machine and hand together at one pixel of the parts.
   * @param {number} at
   */
  compose(at) {
    const { parts, figure, hand, machine, values, background, shared } = this;
    let left = FULL;
    let anySaid = false;
    // no iterators and no small arrays here: a brush comes by a hundred thousand times a frame
    for (let place = 0; place < parts.length; place++) {
      const said = hand[parts[place]][at];
      if (!said) continue;
      anySaid = true;
      left -= said - 1;
    }
    if (!anySaid) {
      for (let place = 0; place < parts.length; place++) values[parts[place]][at] = machine[parts[place]][at];
      return;
    }
    if (left < 0) left = 0;
    let were = 0; // what the figure had of the pixel
    let are = 0; // and has
    for (let place = 0; place < figure.length; place++) {
      const part = figure[place];
      const said = hand[part][at];
      const found = machine[part][at];
      let value = said - 1;
      if (!said) {
        value = shared && found > left ? left : found;
        left -= value;
      }
      values[part][at] = value;
      were = shared ? were + found : Math.max(were, found);
      are = shared ? are + value : Math.max(are, value);
    }
    if (background < 0) return;
    const said = hand[background][at];
    const rest = machine[background][at] + Math.min(FULL, were) - Math.min(FULL, are);
    values[background][at] = said ? said - 1 : Math.max(0, Math.min(rest, shared ? FULL - are : FULL));
  }

  /** Whether the machine's parts share every pixel out between them. */
  #isShared() {
    const planes = this.parts.map((part) => this.machine[part]);
    for (let at = 0; at < this.width * this.height; at++) {
      let sum = 0;
      for (const plane of planes) sum += plane[at];
      if (sum > SHARED_OUT) return false;
    }
    return true;
  }

  /**
   * The hand gives a label a value at a pixel; the other parts give way.
   * @param {number} at
   * @param {number} label
   * @param {number} value
   */
  say(at, label, value) {
    const { hand, values, parts } = this;
    hand[label][at] = 1 + value;
    if (!this.labels[label].part) {
      values[label][at] = value;
      return;
    }
    if (value === FULL && this.shared) {
      for (let place = 0; place < parts.length; place++) {
        const part = parts[place];
        if (part === label) continue;
        hand[part][at] = UNSAID;
        values[part][at] = 0;
      }
      values[label][at] = FULL;
      return;
    }
    if (this.shared) this.#fit(at, FULL - value, 1 << label);
    this.compose(at);
  }

  /**
   * The hand takes what one label has at a pixel for another.
   * @param {number} at
   * @param {number} from -1: there is none
   * @param {number} to
   */
  relabel(at, from, to) {
    const moved = from < 0 ? FULL : this.values[from][at];
    const both = this.labels[to].part && from >= 0;
    const value = both ? Math.min(FULL, this.values[to][at] + moved) : Math.max(this.values[to][at], moved);
    if (both) this.hand[from][at] = 1;
    this.say(at, to, value);
  }

  /**
   * Put what another hand has said at a pixel over what was said there.
   * @param {number} at
   * @param {{label: number, hand: number}[]} own
   */
  impose(at, own) {
    let taken = 0;
    for (const { label, hand } of own) {
      this.hand[label][at] = hand;
      if (!this.labels[label].part) this.values[label][at] = hand ? hand - 1 : this.machine[label][at];
      else if (hand) taken += hand - 1;
    }
    const labels = own.reduce((bits, { label }) => bits | (1 << label), 0);
    if (this.shared) this.#fit(at, Math.max(0, FULL - taken), labels);
    this.compose(at);
  }

  /**
   * Make what is said of other parts fit into what is left for them.
   * @param {number} at
   * @param {number} room
   * @param {number} except a bit for each label that stays
   */
  #fit(at, room, except) {
    const { hand, parts } = this;
    let said = 0;
    for (let place = 0; place < parts.length; place++) {
      const held = hand[parts[place]][at];
      if (held && !(except & (1 << parts[place]))) said += held - 1;
    }
    if (said <= room) return;
    for (let place = 0; place < parts.length; place++) {
      const held = hand[parts[place]][at];
      if (!held || except & (1 << parts[place])) continue;
      hand[parts[place]][at] = 1 + Math.floor(((held - 1) * room) / said);
    }
  }

  /**
   * Put machine and hand together at one pixel of one label, and of what it takes from.
   * @param {number} at
   * @param {number} label
   */
  settle(at, label) {
    if (this.labels[label].part) return this.compose(at);
    const said = this.hand[label][at];
    this.values[label][at] = said ? said - 1 : this.machine[label][at];
  }

  /**
   * The part that has most of a pixel.
   * @param {number} at
   * @returns {number} -1: nobody has anything of it
   */
  strongest(at) {
    let best = -1;
    let most = 0;
    for (let place = 0; place < this.parts.length; place++) {
      const value = this.values[this.parts[place]][at];
      if (value <= most) continue;
      best = this.parts[place];
      most = value;
    }
    return best;
  }

  /**
   * Whether something other than the label could take a pixel that an eraser frees.
   * @param {number} at
   * @param {number} label
   */
  canGiveBack(at, label) {
    if (label !== this.background) return true;
    return this.parts.some((part) => part !== label && (this.hand[part][at] || this.machine[part][at]) > 1);
  }

  /** @returns {string[]} the labels of which the hand has said something */
  get byHand() {
    return this.labels.filter((_, at) => hasAny(this.hand[at])).map(({ name }) => name);
  }
}

/**
 * @param {Uint16Array} hand with a buffer of its own
 * @returns {boolean} whether anything in it is not 0
 */
function hasAny(hand) {
  const fours = new Float64Array(hand.buffer, 0, hand.length >> 2);
  for (let at = 0; at < fours.length; at++) if (fours[at] !== 0) return true;
  return hand.subarray(fours.length * 4).some((said) => said !== UNSAID);
}

/**
 * A box that lies in the picture.
 * @param {Box} box any numbers
 * @param {{width: number, height: number}} picture
 * @returns {Box} empty (right <= left or bottom <= top) when nothing of it does
 */
export function clipped({ left, top, right, bottom }, { width, height }) {
  return {
    left: Math.max(0, Math.floor(left)),
    top: Math.max(0, Math.floor(top)),
    right: Math.min(width, Math.ceil(right)),
    bottom: Math.min(height, Math.ceil(bottom)),
  };
}

/**
 * @param {Box | null} one
 * @param {Box | null} other
 * @returns {Box | null} what holds both
 */
export function joined(one, other) {
  if (!one || !other) return one ?? other;
  return {
    left: Math.min(one.left, other.left),
    top: Math.min(one.top, other.top),
    right: Math.max(one.right, other.right),
    bottom: Math.max(one.bottom, other.bottom),
  };
}

/** @param {Box} box */
export const isEmpty = ({ left, top, right, bottom }) => right <= left || bottom <= top;
