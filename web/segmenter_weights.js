// Says before a run what a node's segmenter cannot do, and offers the weights of better ones.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { panels as datasets } from "./dataset/panel.mjs";
import { SEGMENTER, WITH_FOLDER } from "./dataset/source.mjs";
import { addStylesheet, chain } from "./lib/panel.mjs";
import { follow, presentPanels } from "./lib/present.mjs";
import { onLanguage } from "./lib/text.mjs";
import { Notice } from "./supply/notice.mjs";
import { onArrival } from "./supply/server.mjs";

addStylesheet(new URL("supply/supply.css", import.meta.url).href);

/** @type {Map<any, Notice>} by node */
const notices = presentPanels();

onLanguage(() => notices.forEach((notice) => notice.draw()));
onArrival(() => {
  notices.forEach((notice) => notice.schedule());
  datasets.forEach((panel) => panel.schedule(true));
});
api.addEventListener("graphChanged", () => notices.forEach((notice) => notice.schedule()));

app.registerExtension({
  name: "SemanticFocus.SegmenterWeights",
  nodeCreated(node) {
    if (![SEGMENTER, ...WITH_FOLDER].includes(node.comfyClass)) return;
    const notice = new Notice(node);
    for (const widget of node.widgets) chain(widget, "callback", () => notice.schedule());
    chain(node, "onConfigure", () => notice.schedule());
    chain(node, "onConnectionsChange", () => notice.schedule());
    follow(notices, node, notice);
  },
});
