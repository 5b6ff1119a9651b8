// The coloured regions over the picture, in the nodes that segment or preview.
import { app } from "../../scripts/app.js";
import { addPanel, chain, element, undoable, widgetOf } from "./lib/panel.mjs";
import { nodeOf, previewsOf, readPixels, regionIndices, report } from "./lib/previews.mjs";

const NODES = [
  "SemanticFocusSegment",
  "SemanticFocusPreview",
  "SemanticFocusSelectPersons",
  "SemanticFocusRefine",
];
const MIN_HEIGHT = 320;
const KEYWORDS_HEIGHT = 120;
const DEFAULT_OPACITY = 0.6;
// lighting overlaps the others and would hide them: off until asked for
const DEFAULT_HIDDEN = ["lighting"];

const STYLES = {
  panel: {
    display: "flex",
    flexDirection: "column",
    gap: "6px",
    height: "100%",
    boxSizing: "border-box",
    overflow: "hidden",
    font: "12px/1.3 sans-serif",
    color: "var(--input-text, #ddd)",
  },
  canvas: { flex: "1 1 0", minHeight: "0", width: "100%", objectFit: "contain" },
  legend: { display: "flex", flexWrap: "wrap", gap: "4px" },
  bar: { display: "flex", gap: "6px", alignItems: "center" },
  status: { flex: "1", overflow: "hidden", textOverflow: "ellipsis", whiteSpace: "nowrap" },
  button: {
    display: "flex",
    gap: "5px",
    alignItems: "center",
    padding: "1px 6px",
    font: "inherit",
    color: "inherit",
    background: "var(--comfy-input-bg, #222)",
    border: "1px solid var(--border-color, #555)",
    borderRadius: "4px",
    cursor: "pointer",
  },
  swatch: { width: "10px", height: "10px", borderRadius: "2px" },
  opacity: { width: "80px", margin: "0" },
};

/** @typedef {import("./lib/previews.mjs").Region} Region @typedef {import("./lib/previews.mjs").Preview} Preview */

/**
 * The picture with the shown regions in their colours.
 * @param {ImageData} picture
 * @param {ImageData} map see regionIndices; green: strength of the soft layer
 * @param {Region[]} regions
 * @param {Set<string>} hidden names of regions
 * @param {number} opacity 0..1
 * @returns {ImageData}
 */
function tint(picture, map, regions, hidden, opacity) {
  const tinted = new ImageData(picture.data.slice(), picture.width);
  const mix = (at, colour, share) => {
    for (let channel = 0; channel < 3; channel++) {
      tinted.data[at + channel] += (colour[channel] - tinted.data[at + channel]) * share;
    }
  };
  // background is context: it stays readable under a thinner colour
  const shares = regions.map(({ name }) => (hidden.has(name) ? 0 : opacity * (name === "background" ? 0.5 : 1)));
  const soft = regions.find((region) => region.soft && !hidden.has(region.name));
  const indices = regionIndices(map, regions);
  for (let at = 0; at < map.data.length; at += 4) {
    const index = indices[at / 4] - 1;
    if (shares[index]) mix(at, regions[index].colour, shares[index]);
    if (soft) mix(at, soft.colour, (opacity * map.data[at + 1]) / 255);
  }
  return tinted;
}

/** @param {number} coverage 0..1 */
function percent(coverage) {
  return `${(coverage * 100).toFixed(coverage > 0 && coverage < 0.1 ? 1 : 0)}%`;
}

class MaskOverlay {
  /** @param {any} node */
  constructor(node) {
    this.node = node;
    /** @type {Preview[]} */
    this.previews = [];
    this.page = 0;
    this.canvas = element("canvas", { width: 1, height: 1, style: STYLES.canvas });
    this.canvas.setAttribute("role", "img");
    this.legend = element("div", { style: STYLES.legend });
    this.status = element("span", { style: STYLES.status });
    this.back = this.pageButton("◀", "previous picture", -1);
    this.next = this.pageButton("▶", "next picture", 1);
    /** @type {any} a slider of ours, or the node's own widget */
    this.opacity = widgetOf(node, "opacity") ?? this.addOpacitySlider();
    const controls = this.opacity instanceof Node ? [this.opacity] : [];
    const bar = element("div", { style: STYLES.bar }, [this.back, this.next, this.status, ...controls]);
    this.root = element("div", { className: "semantic-focus-overlay", style: STYLES.panel }, [
      this.canvas,
      this.legend,
      bar,
    ]);
    if (!controls.length) chain(this.opacity, "callback", () => this.paint());
    this.say("Run the node to see the regions.");
  }

  addOpacitySlider() {
    const label = "opacity of the regions";
    const range = { type: "range", min: 0, max: 1, step: 0.05, value: DEFAULT_OPACITY };
    const slider = element("input", { ...range, title: label, aria: { label }, style: STYLES.opacity });
    slider.addEventListener("input", () => this.paint());
    slider.addEventListener("change", () => {
      undoable(() => (this.node.properties.semantic_focus_opacity = Number(slider.value)));
      slider.blur(); // the editor ignores Ctrl+Z while an input has the focus
    });
    return slider;
  }

  /**
   * @param {string} text
   * @param {string} label
   * @param {number} step
   */
  pageButton(text, label, step) {
    const button = element("button", { textContent: text, title: label, aria: { label }, style: STYLES.button });
    button.style.display = "none";
    button.addEventListener("click", () => this.show(this.page + step));
    return button;
  }

  /** The names of the regions that are not shown; kept in the workflow. */
  get hidden() {
    return new Set(this.node.properties.semantic_focus_hidden ?? DEFAULT_HIDDEN);
  }

  /** @param {string} text */
  say(text) {
    this.status.textContent = this.status.title = text;
    this.canvas.setAttribute("aria-label", `regions over the picture: ${text}`);
  }

  /** Take over what the workflow file says. */
  configure() {
    if (this.opacity instanceof Node) {
      /** @type {any} */ (this.opacity).value = this.node.properties.semantic_focus_opacity ?? DEFAULT_OPACITY;
    }
    this.paint();
  }

  /** @param {Preview[]} previews */
  take(previews) {
    if (previews === this.previews || !previews.length) return;
    this.previews = previews;
    this.show(Math.min(this.page, previews.length - 1));
  }

  /** @param {number} page */
  async show(page) {
    const count = this.previews.length;
    this.page = (page + count) % count;
    this.back.style.display = this.next.style.display = count > 1 ? "" : "none";
    const preview = this.previews[this.page];
    try {
      const [picture, map] = await Promise.all([readPixels(preview.picture), readPixels(preview.map)]);
      if (preview !== this.previews[this.page]) return; // another page was asked for meanwhile
      this.shown = { preview, picture, map };
    } catch (error) {
      this.say(error.message);
      return;
    }
    this.describe(preview);
    this.paint();
  }

  /** @param {Preview} preview */
  describe(preview) {
    const place = this.previews.length > 1 ? [`${this.page + 1}/${this.previews.length}`] : [];
    const people = ["no person found", "1 person"][preview.persons] ?? `${preview.persons} persons`;
    const [kept, all] = preview.cache.split("/").map(Number);
    const source = kept && kept === all ? [preview.backend, "mask file"] : [preview.backend];
    this.say([...place, people, ...source, `${preview.width}×${preview.height}`].join(" · "));
  }

  /** @param {string} name */
  toggle(name) {
    const hidden = this.hidden;
    if (!hidden.delete(name)) hidden.add(name);
    undoable(() => (this.node.properties.semantic_focus_hidden = [...hidden]));
    this.paint();
  }

  paint() {
    if (!this.shown) return;
    const { preview, picture, map } = this.shown;
    const tinted = tint(picture, map, preview.regions, this.hidden, Number(this.opacity.value));
    Object.assign(this.canvas, { width: picture.width, height: picture.height });
    this.canvas.getContext("2d").putImageData(tinted, 0, 0);
    this.legend.replaceChildren(...preview.regions.map((region) => this.legendButton(region)));
  }

  /** @param {Region} region */
  legendButton({ name, colour, coverage }) {
    const shown = !this.hidden.has(name);
    const swatch = element("span", { style: { ...STYLES.swatch, background: `rgb(${colour.join()})` } });
    const button = element(
      "button",
      {
        title: `${shown ? "hide" : "show"} ${name}`,
        dataset: { region: name },
        aria: { pressed: String(shown) },
        style: {
          ...STYLES.button,
          opacity: shown && coverage > 0 ? "1" : "0.55",
          textDecoration: shown ? "none" : "line-through",
        },
      },
      [swatch, `${name} ${percent(coverage)}`],
    );
    button.addEventListener("click", () => this.toggle(name));
    return button;
  }
}

/** @type {WeakMap<object, MaskOverlay>} by node */
const overlays = new WeakMap();

app.registerExtension({
  name: "SemanticFocus.MaskOverlay",
  nodeCreated(node) {
    if (!NODES.includes(node.comfyClass)) return;
    const keywords = widgetOf(node, "keywords");
    // the height that the node has to spare belongs to the picture
    if (keywords) keywords.options.getMaxHeight = () => KEYWORDS_HEIGHT;
    const overlay = new MaskOverlay(node);
    overlays.set(node, overlay);
    addPanel(node, "semantic_focus_overlay", overlay.root, MIN_HEIGHT);
    chain(node, "onExecuted", (output) => {
      if (!output?.semantic_focus) return;
      report(node, output.semantic_focus);
      overlay.take(output.semantic_focus);
    });
    chain(node, "onConfigure", () => {
      overlay.configure();
      overlay.take(previewsOf(node));
    });
  },
  // back in a workflow's tab: the nodes are new ones, and may have run meanwhile
  onNodeOutputsUpdated(outputs) {
    for (const [key, output] of Object.entries(outputs)) {
      if (output?.semantic_focus) overlays.get(nodeOf(key))?.take(output.semantic_focus);
    }
  },
});
