// The pictures of a dataset with the status of their masks, in the nodes that load it or make its masks.
import { app } from "../../scripts/app.js";
import { DatasetPanel } from "./dataset/panel.mjs";
import { CACHER, LOADER, reportFolder } from "./dataset/source.mjs";
import { nodeOf } from "./lib/graph.mjs";
import { onPalette } from "./lib/palette.mjs";
import { addPanel, addStylesheet, chain, widgetOf } from "./lib/panel.mjs";
import { OPACITY, onPreference } from "./lib/preferences.mjs";
import { onLanguage } from "./lib/text.mjs";

const MIN_HEIGHT = 220;
const KEYWORDS_HEIGHT = 120;

addStylesheet(new URL("dataset/dataset.css", import.meta.url).href);

/** @type {WeakMap<object, DatasetPanel>} by node */
const panels = new WeakMap();

/** @type {Set<DatasetPanel>} of the nodes that are in a graph */
const open = new Set();

/**
 * What a run of the node said.
 * @param {DatasetPanel} panel
 * @param {any} output
 */
function take(panel, output) {
  const folder = output?.semantic_focus_folder?.[0];
  if (!folder) return;
  reportFolder(panel.node, folder);
  const [summary = ""] = output.text ?? [];
  const report = output.semantic_focus_report?.[0];
  // the last line of the text is the path of the report
  panel.tellResult(report ? summary.split("\n").slice(0, -1).join("\n") : summary, report);
  panel.schedule(true);
}

app.registerExtension({
  name: "SemanticFocus.DatasetBrowser",
  setup() {
    onLanguage(() => open.forEach((panel) => panel.relabel()));
    onPalette(() => open.forEach((panel) => panel.repaint()));
    onPreference([OPACITY], () => open.forEach((panel) => panel.repaint()));
  },
  nodeCreated(node) {
    if (node.comfyClass !== LOADER && node.comfyClass !== CACHER) return;
    const keywords = widgetOf(node, "keywords");
    // the height that the node has to spare belongs to the pictures
    if (keywords) keywords.options.getMaxHeight = () => KEYWORDS_HEIGHT;
    const panel = new DatasetPanel(node);
    panels.set(node, panel);
    addPanel(node, "semantic_focus_dataset", panel.root, MIN_HEIGHT);
    for (const widget of node.widgets) chain(widget, "callback", () => panel.schedule(false));
    const begin = () => {
      open.add(panel);
      panel.listen();
      panel.schedule(true);
    };
    chain(node, "onAdded", begin);
    chain(node, "onConfigure", begin);
    chain(node, "onConnectionsChange", () => panel.schedule(false));
    chain(node, "onExecuted", (output) => take(panel, output));
    chain(node, "onRemoved", () => {
      open.delete(panel);
      panel.close();
    });
  },
  // back in a workflow's tab: the nodes are new ones, and may have run meanwhile
  onNodeOutputsUpdated(outputs) {
    for (const [key, output] of Object.entries(outputs)) {
      const panel = panels.get(nodeOf(key));
      if (panel) take(panel, output);
    }
  },
});
