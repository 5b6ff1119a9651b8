// Choosing a preset moves the sliders of Semantic Cosine Loss; moving a slider makes the preset "custom".
import { app } from "../../scripts/app.js";
import { chain, widgetOf } from "./lib/panel.mjs";

const NODE = "SemanticFocusCosineLoss";
const CUSTOM = "custom";

/** @type {Record<string, Record<string, number>>} weight per category, from nodes/loss.py */
let presets = {};

/**
 * Change a widget as the user would: callbacks are what the Vue renderer listens to.
 * @param {any} node
 * @param {any} widget
 * @param {any} value
 */
function change(node, widget, value) {
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
}

app.registerExtension({
  name: "SemanticFocus.LossPresets",
  beforeRegisterNodeDef(_type, definition) {
    if (definition.name === NODE) presets = definition.input.required.preset[1].presets;
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const choice = widgetOf(node, "preset");
    const categories = new Set(Object.values(presets).flatMap(Object.keys));
    let presetMoves = false;
    chain(choice, "callback", () => {
      presetMoves = true;
      for (const [category, weight] of Object.entries(presets[choice.value] ?? {})) {
        change(node, widgetOf(node, `${category}_weight`), weight);
      }
      presetMoves = false;
      node.setDirtyCanvas(true, true);
    });
    for (const category of categories) {
      chain(widgetOf(node, `${category}_weight`), "callback", () => {
        if (!presetMoves && choice.value !== CUSTOM) change(node, choice, CUSTOM);
      });
    }
  },
});
