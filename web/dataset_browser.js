// The pictures of a dataset with the status of their masks, in the nodes that load it or make its masks.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { remember } from "./dataset/known.mjs";
import { DatasetPanel, panels } from "./dataset/panel.mjs";
import { keepResult, onRuns } from "./dataset/runs.mjs";
import { reportFolder, sourceOf, WITH_FOLDER } from "./dataset/source.mjs";
import { onPalette } from "./lib/palette.mjs";
import { addPanel, addStylesheet, chain, limitKeywords } from "./lib/panel.mjs";
import { OPACITY, onPreference } from "./lib/preferences.mjs";
import { follow } from "./lib/present.mjs";
import { onResult } from "./lib/results.mjs";
import { onLanguage } from "./lib/text.mjs";

const MIN_HEIGHT = 220;

addStylesheet(new URL("dataset/dataset.css", import.meta.url).href);

/** @param {(panel: DatasetPanel) => void} act */
const all = (act) => panels.forEach((panel) => act(panel));

onRuns((ended) =>
  all((panel) => {
    if (!ended) return panel.progressed();
    panel.draw();
    panel.schedule(true);
  }),
);
onResult("semantic_focus_masks", (node, [result], fresh) => {
  keepResult(node, result, fresh);
  panels.get(node)?.draw();
});
onResult("semantic_focus_folder", (node, [folder], fresh) => {
  reportFolder(node, folder);
  if (fresh) for (const used of [folder, sourceOf(node)?.folder]) remember(used ?? "");
  panels.get(node)?.schedule(true);
});
onResult("semantic_focus_remarks", (node, [remarks]) => panels.get(node)?.remark(remarks));
onLanguage(() => all((panel) => panel.relabel()));
onPalette(() => all((panel) => panel.repaint()));
onPreference([OPACITY], () => all((panel) => panel.repaint()));
api.addEventListener("graphChanged", () => all((panel) => panel.schedule(false)));
// thumbnails come only from folders that were listed since the server started
api.addEventListener("reconnected", () => all((panel) => panel.startOver()));

app.registerExtension({
  name: "SemanticFocus.DatasetBrowser",
  nodeCreated(node) {
    if (!WITH_FOLDER.includes(node.comfyClass)) return;
    limitKeywords(node);
    const panel = new DatasetPanel(node);
    addPanel(node, "semantic_focus_dataset", panel.root, MIN_HEIGHT);
    for (const widget of node.widgets) chain(widget, "callback", () => panel.schedule(false));
    chain(node, "onConnectionsChange", () => panel.schedule(false));
    chain(node, "onConfigure", () => {
      panel.draw();
      panel.schedule(true);
    });
    follow(panels, node, panel);
  },
});
