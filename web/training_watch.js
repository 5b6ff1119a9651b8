// What a training does that runs elsewhere, in Watch Training: the panel of LoRA Train Step, by the run's folder.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addPanel, chain, widgetOf } from "./lib/panel.mjs";
import { follow } from "./lib/present.mjs";
import { WatchedFolder } from "./training/folder.mjs";
import { panels, TrainingPanel } from "./training/panel.mjs";

const NODE = "SemanticFocusWatch";
const MIN_HEIGHT = 320;

// the folder may come from another node
api.addEventListener("graphChanged", () =>
  panels.forEach(({ source }) => source instanceof WatchedFolder && source.folderChanged()),
);

app.registerExtension({
  name: "SemanticFocus.WatchTraining",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    /** @type {any} */
    let source;
    const panel = new TrainingPanel(node, (changed) => (source = new WatchedFolder(node, changed)));
    addPanel(node, "semantic_focus_watch", panel.root, MIN_HEIGHT);
    chain(widgetOf(node, "folder"), "callback", () => source.folderChanged());
    chain(node, "onConnectionsChange", () => source.folderChanged());
    chain(node, "onConfigure", () => {
      panel.restyle();
      source.folderChanged();
    });
    follow(panels, node, panel);
  },
});
