// What a training does, in LoRA Train Step: live curves per region, pace, samples, and a button that stops it.
import { app } from "../../scripts/app.js";
import { addPanel, chain } from "./lib/panel.mjs";
import { follow } from "./lib/present.mjs";
import { onPrompts } from "./lib/prompts.mjs";
import { onResult } from "./lib/results.mjs";
import { OwnTraining } from "./training/own.mjs";
import { panels, TrainingPanel } from "./training/panel.mjs";
import { keep, onTraining } from "./training/runs.mjs";
import { foldRare } from "./training/sockets.mjs";

const NODE = "SemanticFocusTrain";
const MIN_HEIGHT = 320;

onResult("semantic_focus_training", (node, [report], fresh) => keep(node, report, fresh));
onTraining(() => panels.forEach((panel) => panel.request()));
onPrompts(() => panels.forEach((panel) => panel.request()));

app.registerExtension({
  name: "SemanticFocus.TrainingPanel",
  beforeRegisterNodeDef(_, definition) {
    if (definition.name === NODE) foldRare(definition);
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const panel = new TrainingPanel(node, (changed) => new OwnTraining(node, changed));
    addPanel(node, "semantic_focus_training", panel.root, MIN_HEIGHT);
    follow(panels, node, panel);
    chain(node, "onAdded", () => panel.request());
    chain(node, "onConfigure", () => panel.restyle());
  },
  afterConfigureGraph() {
    for (const panel of panels.values()) panel.request(); // ids are known only now
  },
});
