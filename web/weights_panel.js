// Semantic Cosine Loss as a panel: a slider per region, presets, and a miniature of what will be trained.
// The values are the node's ordinary inputs; without this file their native widgets remain.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { CATEGORIES, onPalette } from "./lib/palette.mjs";
import { addStylesheet, chain, widgetOf } from "./lib/panel.mjs";
import { onPreference, SLIDER_STEP } from "./lib/preferences.mjs";
import { follow, presentPanels } from "./lib/present.mjs";
import { onReport } from "./lib/previews.mjs";
import { onLanguage } from "./lib/text.mjs";
import { WeightsPanel } from "./weights/view.mjs";
import { CUSTOM, INPUTS, inputOf, PRESET, WeightValues } from "./weights/values.mjs";

addStylesheet(new URL("weights/weights.css", import.meta.url).href);

const NODE = "SemanticFocusCosineLoss";
const WIDTH = 320;
const SPARE = 60; // what a new node is higher than it must be, for the miniature

const WEIGHTS = Object.keys(CATEGORIES).map(inputOf);

/** @type {Record<string, any>} input -> [type, options], from nodes/loss.py */
let inputs = {};

/** @type {Map<any, WeightsPanel>} */
const panels = presentPanels();

/** @param {(panel: WeightsPanel) => void} action */
const forAll = (action) => () => panels.forEach((panel) => action(panel));

onReport(forAll((panel) => panel.findPreviews()));
onPalette(forAll((panel) => panel.sync()));
onPreference([SLIDER_STEP], forAll((panel) => panel.sync()));
onLanguage(forAll((panel) => panel.speak()));
// a value that a link brings may be another
api.addEventListener("graphChanged", forAll((panel) => panel.request()));

/**
 * A preset moves the sliders, and a moved slider makes the preset "custom", whoever moves it.
 * @param {any} node
 * @param {WeightValues} values
 */
function bindPresets(node, values) {
  chain(widgetOf(node, PRESET), "callback", () => values.applyPreset());
  for (const category of values.categories) {
    chain(widgetOf(node, inputOf(category)), "callback", () => {
      if (!values.presetMoves && values.get(PRESET) !== CUSTOM && !values.linked(PRESET)) values.set(PRESET, CUSTOM);
    });
  }
}

/** @param {any} node */
function furnish(node) {
  const values = new WeightValues(node, inputs);
  bindPresets(node, values);
  const panel = new WeightsPanel(node, values);
  for (const input of INPUTS) chain(widgetOf(node, input), "callback", () => panel.request());
  chain(node, "onConfigure", () => panel.sync());
  chain(node, "onConnectionsChange", (_type, slot, connected) => {
    // what is connected to a weight is to count, as a slider that is moved; not while a workflow is read
    const name = node.inputs?.[slot]?.widget?.name;
    if (connected && !app.configuringGraph && WEIGHTS.includes(name)) values.leavePreset();
    panel.request();
    panel.findPreviews();
  });
  follow(panels, node, panel);
  panel.sync();
  const [, height] = node.computeSize();
  node.setSize([WIDTH, height + SPARE]);
}

app.registerExtension({
  name: "SemanticFocus.WeightsPanel",
  beforeRegisterNodeDef(_type, definition) {
    if (definition.name === NODE) inputs = { ...definition.input.required, ...definition.input.optional };
  },
  nodeCreated(node) {
    if (node.comfyClass === NODE) furnish(node);
  },
  // links are there only now, and other tabs' nodes may have run meanwhile
  afterConfigureGraph() {
    for (const panel of panels.values()) {
      panel.sync();
      panel.findPreviews();
    }
  },
});
