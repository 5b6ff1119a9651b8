// The picture with its masks: how far one is into it, and where pointer, fingers and keyboard are.
import { beforeNextFrame } from "../lib/frame.mjs";
import { element } from "../lib/panel.mjs";
import { Marks } from "./marks.mjs";

/**
 * @typedef {import("./tools.mjs").Tools} Tools
 * @typedef {import("./tools.mjs").Point} Point
 */

const MOST_ZOOM = 32; // pixels of the page per pixel of the picture
const ZOOM_STEP = 1.25;
const WHEEL = 0.0022; // zoom per unit of the wheel, as an exponent
/** From this zoom on single pixels are shown as they are. */
const PIXELS = 4;
const SMALL_STEP = 1; // pixels of the picture that a key moves the cursor by with Shift

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const MIDDLE = 1;

export class Stage {
  /** @param {Tools} tools */
  constructor(tools) {
    this.tools = tools;
    this.size = { width: 1, height: 1 };
    this.zoom = 1;
    this.offset = { x: 0, y: 0 };
    this.fits = true;
    /** @type {Point | null} where the pointer or the keyboard's cursor is, in pixels of the picture */
    this.cursor = null;
    /** whether the keyboard moved it last */
    this.keyed = false;
    this.spaceHeld = false;
    /** @type {"" | "paint" | "pan" | "pinch" | "keys"} */
    this.doing = "";
    /** @type {Map<number, {x: number, y: number}>} fingers, on the page */
    this.fingers = new Map();
    /** @type {Point[]} since the last frame */
    this.points = [];
    /** told of each change of zoom */
    this.onZoom = () => {};
    this.onFrame = beforeNextFrame(() => this.frame());
    this.picture = element("canvas", { className: "sf-mend-picture", width: 1, height: 1, ariaHidden: "true" });
    this.masks = element("canvas", { className: "sf-mend-masks", width: 1, height: 1, ariaHidden: "true" });
    this.sheet = element("div", { className: "sf-mend-sheet" }, [this.picture, this.masks]);
    this.marks = new Marks(this);
    this.root = element("div", { className: "sf-mend-stage", tabIndex: 0, role: "application" }, [
      this.sheet,
      this.marks.root,
    ]);
    this.listen();
    this.resizes = new ResizeObserver(() => (this.fits ? this.fit() : this.place()));
    this.resizes.observe(this.root);
  }

  listen() {
    const { root } = this;
    root.addEventListener("pointerdown", (event) => this.down(event));
    root.addEventListener("pointermove", (event) => this.moved(event));
    for (const type of ["pointerup", "pointercancel"]) root.addEventListener(type, (event) => this.up(event));
    root.addEventListener("pointerleave", () => {
      if (this.doing || this.keyed) return;
      this.cursor = null;
      this.onFrame();
    });
    root.addEventListener("dblclick", (event) => this.tools.closeOutline(event));
    root.addEventListener("contextmenu", (event) => event.preventDefault());
    root.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    root.addEventListener("keydown", (event) => this.pressed(event));
    root.addEventListener("keyup", (event) => this.released(event));
    root.addEventListener("blur", () => {
      this.spaceHeld = false;
      this.endKeys();
      this.place();
    });
  }

  /** It will not be used again. */
  dispose() {
    this.resizes.disconnect();
  }

  /**
   * Show a picture, or nothing.
   * @param {ImageBitmap | null} picture
   * @param {{width: number, height: number}} size
   */
  show(picture, size) {
    Object.assign(this.picture, { width: size.width, height: size.height });
    const isOther = picture !== this.shown;
    this.shown = picture;
    this.size = { width: size.width, height: size.height };
    this.sheet.classList.toggle("sf-hidden", !picture);
    const context = this.picture.getContext("2d", { willReadFrequently: true });
    if (picture) context.drawImage(picture, 0, 0, size.width, size.height);
    this.doing = "";
    if (isOther) this.fit();
    else this.place();
  }

  /** @returns {ImageData} of the picture */
  pixels() {
    return this.picture.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, this.size.width, this.size.height);
  }

  /** Show all of the picture. */
  fit() {
    const { clientWidth, clientHeight } = this.root;
    if (!clientWidth || !clientHeight) return;
    const { width, height } = this.size;
    this.fits = true;
    this.zoom = Math.min(clientWidth / width, clientHeight / height, MOST_ZOOM);
    this.offset = { x: (clientWidth - width * this.zoom) / 2, y: (clientHeight - height * this.zoom) / 2 };
    this.place();
  }

  /**
   * @param {number} factor
   * @param {{x: number, y: number}} [at] what stays where it is, on the stage; without it, the middle
   */
  zoomBy(factor, at = { x: this.root.clientWidth / 2, y: this.root.clientHeight / 2 }) {
    const { clientWidth, clientHeight } = this.root;
    const whole = Math.min(clientWidth / this.size.width, clientHeight / this.size.height);
    const zoom = Math.max(Math.min(whole, 1) * 0.5, Math.min(MOST_ZOOM, this.zoom * factor));
    const share = zoom / this.zoom;
    this.fits = false;
    this.offset = { x: at.x - (at.x - this.offset.x) * share, y: at.y - (at.y - this.offset.y) * share };
    this.zoom = zoom;
    this.place();
  }

  /** @param {number} steps in or, when negative, out */
  zoomSteps(steps) {
    const at = this.keyed && this.cursor ? this.toStage(this.cursor) : undefined;
    this.zoomBy(ZOOM_STEP ** steps, at);
  }

  /** @param {number} x @param {number} y pixels of the page */
  pan(x, y) {
    this.fits = false;
    this.offset = { x: this.offset.x + x, y: this.offset.y + y };
    this.place();
  }

  /**
   * Bring a place of the picture into the middle.
   * @param {[number, number, number, number]} box in shares of width and height
   */
  lookAt([left, top, right, bottom]) {
    const { clientWidth, clientHeight } = this.root;
    const [width, height] = [(right - left) * this.size.width, (bottom - top) * this.size.height];
    const whole = Math.min(clientWidth / this.size.width, clientHeight / this.size.height);
    this.fits = false;
    this.zoom = Math.max(whole, Math.min((0.5 * clientWidth) / width, (0.5 * clientHeight) / height, 4));
    const [x, y] = [((left + right) / 2) * this.size.width, ((top + bottom) / 2) * this.size.height];
    this.offset = { x: clientWidth / 2 - x * this.zoom, y: clientHeight / 2 - y * this.zoom };
    this.place();
  }

  /** Put everything where zoom and offset say. */
  place() {
    const { x, y } = this.offset;
    this.sheet.style.transform = `translate(${x}px, ${y}px) scale(${this.zoom})`;
    this.sheet.classList.toggle("sf-mend-pixels", this.zoom >= PIXELS);
    this.root.dataset.pans = String(this.doing === "pan" || (this.spaceHeld && !this.keyed));
    this.root.dataset.tool = this.tools.hasSize && !this.keyed ? "ring" : "cross";
    this.onFrame();
    this.onZoom();
  }

  /** What is due before the next frame. */
  frame() {
    const points = this.points;
    this.points = [];
    if (points.length) this.tools.move(points);
    this.marks.draw();
  }

  /** @param {Point} point of the picture @returns {{x: number, y: number}} on the stage */
  toStage({ x, y }) {
    return { x: x * this.zoom + this.offset.x, y: y * this.zoom + this.offset.y };
  }

  /** @param {{clientX: number, clientY: number}} event @returns {{x: number, y: number}} */
  onStage({ clientX, clientY }) {
    const { left, top } = this.root.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  }

  /** @param {PointerEvent} event @returns {Point} of the picture */
  pointOf(event) {
    const { x, y } = this.onStage(event);
    const point = { x: (x - this.offset.x) / this.zoom, y: (y - this.offset.y) / this.zoom };
    return event.pointerType === "pen" ? { ...point, pressure: event.pressure } : point;
  }

  /** @param {PointerEvent} event */
  down(event) {
    this.root.focus({ preventScroll: true });
    this.keyed = false;
    if (event.pointerType === "touch") {
      this.fingers.set(event.pointerId, this.onStage(event));
      if (this.fingers.size === 2) {
        this.tools.cancel(); // the first finger did not mean to paint
        this.points = [];
        this.doing = "pinch";
      }
      if (this.fingers.size > 1) return;
    }
    if (this.doing) return;
    this.capture(event.pointerId);
    this.cursor = this.pointOf(event);
    if (event.button === MIDDLE || this.spaceHeld) this.doing = "pan";
    else if (event.button !== 0 && event.pointerType !== "pen") return;
    else if (event.ctrlKey || event.metaKey) this.tools.pick(this.cursor);
    else {
      this.doing = "paint";
      this.marks.place = null; // it was seen
      this.tools.press(this.cursor, event);
    }
    event.preventDefault();
    this.place();
  }

  /** @param {number} pointer */
  capture(pointer) {
    try {
      this.root.setPointerCapture(pointer);
    } catch {
      // it is gone already, or a test's
    }
  }

  /** @param {PointerEvent} event */
  moved(event) {
    if (this.fingers.has(event.pointerId) && this.doing === "pinch") return this.pinch(event);
    const rests = event.pointerType === "mouse" && !event.movementX && !event.movementY;
    if (rests && !this.doing) return; // browsers say so when something comes up under it: the keyboard may be at work
    if (this.doing === "pan") this.pan(event.movementX, event.movementY);
    if (this.doing === "paint") {
      // all the places between two frames
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) this.points.push(this.pointOf(each));
    }
    if (this.doing !== "keys") {
      this.keyed = false;
      this.cursor = this.pointOf(event);
    }
    this.onFrame();
  }

  /** @param {PointerEvent} event of one of two fingers */
  pinch(event) {
    const before = [...this.fingers.values()];
    this.fingers.set(event.pointerId, this.onStage(event));
    const after = [...this.fingers.values()];
    /** @param {any[]} both */
    const middle = ([one, other]) => ({ x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 });
    /** @param {any[]} both */
    const apart = ([one, other]) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
    const [from, to] = [middle(before), middle(after)];
    this.pan(to.x - from.x, to.y - from.y);
    this.zoomBy(apart(after) / apart(before), to);
  }

  /** @param {PointerEvent} event */
  up(event) {
    this.fingers.delete(event.pointerId);
    if (this.doing === "pinch") {
      if (!this.fingers.size) this.doing = "";
      return;
    }
    if (this.doing === "paint") {
      this.frame();
      if (event.type === "pointercancel") this.tools.cancel();
      else this.tools.release();
    }
    if (this.doing !== "keys") this.doing = "";
    if (event.pointerType === "touch") this.cursor = null;
    this.place();
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    event.stopPropagation();
    const delta = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : event.deltaY * 33;
    const { tools } = this;
    const zooms = event.ctrlKey || event.metaKey || this.spaceHeld || !(tools.hasSize || tools.tool === "fill");
    if (zooms) return this.zoomBy(Math.exp(-delta * WHEEL * (event.ctrlKey && Math.abs(delta) < 50 ? 4 : 1)), this.onStage(event));
    // with Shift some systems turn the wheel sideways
    const steps = -Math.sign(delta || event.deltaX);
    if (!tools.hasSize) tools.tolerate(steps * 0.05);
    else if (event.shiftKey) tools.harden(steps * 0.05);
    else tools.resize(steps);
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    const arrow = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey) return;
    if (arrow) this.step(arrow, event.shiftKey);
    else if (event.key === " ") this.space(event);
    else if (event.key === "Enter") this.enter(event);
    else if (event.key === "Backspace" && this.tools.corners.length) this.tools.dropCorner();
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.place();
  }

  /**
   * @param {number[]} arrow
   * @param {boolean} fine
   */
  step([x, y], fine) {
    const { tools, size } = this;
    const by = fine ? SMALL_STEP : tools.hasSize ? Math.max(1, Math.round(tools.settings.size / 4)) : Math.ceil(16 / this.zoom);
    const from = this.cursor ?? { x: Math.floor(size.width / 2) + 0.5, y: Math.floor(size.height / 2) + 0.5 };
    const inside = (value, most) => Math.max(0.5, Math.min(most - 0.5, value));
    this.cursor = { x: inside(from.x + x * by, size.width), y: inside(from.y + y * by, size.height) };
    this.keyed = true;
    if (this.doing === "keys") this.points.push(this.cursor);
    this.follow();
  }

  /** Keep the keyboard's cursor in sight. */
  follow() {
    const { x, y } = this.toStage(/** @type {Point} */ (this.cursor));
    const { clientWidth, clientHeight } = this.root;
    const beyond = (value, most) => Math.max(0, 24 - value) - Math.max(0, value - (most - 24));
    const [dx, dy] = [beyond(x, clientWidth), beyond(y, clientHeight)];
    if ((dx || dy) && !this.fits) this.pan(dx, dy);
  }

  /** @param {KeyboardEvent} event */
  space(event) {
    this.spaceHeld = true;
    if (!this.keyed || !this.cursor || event.repeat || this.doing) return;
    this.doing = "keys";
    this.tools.press(this.cursor, event);
  }

  /** @param {KeyboardEvent} event */
  enter(event) {
    const { tools } = this;
    if (tools.tool === "outline") return tools.closeOutline(event);
    if (this.doing || !this.cursor) return;
    tools.press(this.cursor, event);
    tools.release();
  }

  /** @param {KeyboardEvent} event */
  released(event) {
    if (event.key !== " ") return;
    this.spaceHeld = false;
    this.endKeys();
    event.preventDefault();
    this.place();
  }

  /** The key that painted is up. */
  endKeys() {
    if (this.doing !== "keys") return;
    this.frame();
    this.tools.release();
    this.doing = "";
  }
}
