// The pictures of a dataset with the status of their masks, in the nodes that load it or make its masks.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { DatasetPanel, panels } from "./dataset/panel.mjs";
import { keepResult, onRuns } from "./dataset/runs.mjs";
import { CACHER, LOADER, reportFolder } from "./dataset/source.mjs";
import { everyNode } from "./lib/graph.mjs";
import { onPalette } from "./lib/palette.mjs";
import { addPanel, addStylesheet, chain, widgetOf } from "./lib/panel.mjs";
import { OPACITY, onPreference } from "./lib/preferences.mjs";
import { onResult } from "./lib/results.mjs";
import { onLanguage } from "./lib/text.mjs";

const MIN_HEIGHT = 220;
const KEYWORDS_HEIGHT = 120;

addStylesheet(new URL("dataset/dataset.css", import.meta.url).href);

/** @type {WeakMap<object, DatasetPanel>} by node; copying makes nodes that come into no workflow */
const made = new WeakMap();

/** @param {(panel: DatasetPanel) => void} act */
const all = (act) => [...panels].forEach(act);

/** Let the panels of the workflow's nodes live, and no others: nodes in subgraphs are not told all that happens. */
function follow() {
  const present = new Set([...everyNode()].map(({ node }) => made.get(node)));
  for (const panel of present) if (panel && !panels.has(panel)) panel.attach();
  all((panel) => present.has(panel) || panel.detach());
}

onRuns((ended) =>
  all((panel) => {
    if (!ended) return panel.progressed();
    panel.draw();
    panel.schedule(true);
  }),
);
onResult("semantic_focus_masks", (node, [result], fresh) => {
  keepResult(node, result, fresh);
  all((panel) => panel.node === node && panel.draw());
});
onResult("semantic_focus_folder", (node, [folder]) => {
  reportFolder(node, folder);
  all((panel) => panel.node === node && panel.schedule(true));
});
onLanguage(() => all((panel) => panel.relabel()));
onPalette(() => all((panel) => panel.repaint()));
onPreference([OPACITY], () => all((panel) => panel.repaint()));
api.addEventListener("graphChanged", () => {
  follow();
  all((panel) => panel.schedule(false));
});
// thumbnails come only from folders that were listed since the server started
api.addEventListener("reconnected", () => all((panel) => panel.startOver()));

app.registerExtension({
  name: "SemanticFocus.DatasetBrowser",
  nodeCreated(node) {
    if (node.comfyClass !== LOADER && node.comfyClass !== CACHER) return;
    const keywords = widgetOf(node, "keywords");
    // the height that the node has to spare belongs to the pictures
    if (keywords) keywords.options.getMaxHeight = () => KEYWORDS_HEIGHT;
    const panel = new DatasetPanel(node);
    made.set(node, panel);
    addPanel(node, "semantic_focus_dataset", panel.root, MIN_HEIGHT);
    for (const widget of node.widgets) chain(widget, "callback", () => panel.schedule(false));
    chain(node, "onConnectionsChange", () => panel.schedule(false));
    chain(node, "onConfigure", () => {
      panel.draw();
      panel.schedule(true);
    });
    chain(node, "onAdded", () => setTimeout(follow)); // a subgraph around it may not be there yet
    chain(node, "onRemoved", () => panel.detach());
  },
  afterConfigureGraph: follow,
});
