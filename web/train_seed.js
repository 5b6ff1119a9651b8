// A new LoRA Train Step keeps its seed: a stopped training goes on only with the same one.
import { app } from "../../scripts/app.js";
import { widgetOf } from "./lib/panel.mjs";

const NODE = "SemanticFocusTrain";

app.registerExtension({
  name: "SemanticFocus.TrainSeed",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    // a saved workflow is read into the widgets after this, and says what its author chose
    const control = widgetOf(node, "control_after_generate");
    if (control) control.value = "fixed";
  },
});
