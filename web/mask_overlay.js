// The coloured regions over the picture, in the nodes that segment or preview.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { openDialog } from "./lib/dialog.mjs";
import { everyNode, nodeRunAs, runIdsOf } from "./lib/graph.mjs";
import { OVERLAYS } from "./lib/graph_walk.mjs";
import { OverlayState } from "./overlay/state.mjs";
import { OverlayView } from "./overlay/view.mjs";
import { onPalette } from "./lib/palette.mjs";
import { addPanel, addStylesheet, chain, limitKeywords } from "./lib/panel.mjs";
import { onPreference, OPACITY } from "./lib/preferences.mjs";
import { previewsOf, report } from "./lib/previews.mjs";
import { isForeign, runNodes } from "./lib/prompts.mjs";
import { onResult } from "./lib/results.mjs";
import { onLanguage } from "./lib/text.mjs";

addStylesheet(new URL("overlay/overlay.css", import.meta.url).href);

const MIN_HEIGHT = 320;

/** @type {WeakMap<object, OverlayState>} by node */
const states = new WeakMap();

/** @param {OverlayState} state */
async function enlarge(state) {
  const view = new OverlayView(state);
  view.root.tabIndex = -1; // keys turn pages from the start
  const closed = openDialog(state.node.title, view.root);
  view.root.focus();
  await closed;
  view.dispose();
}

/** @param {any} node */
function addOverlay(node) {
  limitKeywords(node);
  const state = new OverlayState(node);
  states.set(node, state);
  const view = new OverlayView(state, {
    enlarge: () => enlarge(state),
    run: () => runNodes(runIdsOf(node).slice(0, 1)),
  });
  view.root.classList.add("semantic-focus-overlay");
  addPanel(node, "semantic_focus_overlay", view.root, MIN_HEIGHT);
  if (state.opacityWidget) chain(state.opacityWidget, "callback", () => state.changed());
  chain(node, "onConfigure", () => {
    state.take(previewsOf(node));
    state.changed();
  });
  for (const name of ["onConfigure", "onConnectionsChange"]) {
    // subgraphs put the links in after that
    chain(node, name, () => setTimeout(() => state.changed()));
  }
}

function redraw() {
  for (const { node } of everyNode()) states.get(node)?.changed();
}

app.registerExtension({
  name: "SemanticFocus.MaskOverlay",
  setup() {
    onPalette(redraw);
    onPreference([OPACITY], redraw);
    onLanguage(redraw);
    onResult("semantic_focus", (node, previews, fresh) => {
      if (fresh) states.get(node)?.fail(null);
      report(node, previews);
      states.get(node)?.take(previews);
    });
    api.addEventListener("execution_error", ({ detail }) => {
      if (isForeign(detail.prompt_id)) return;
      states.get(nodeRunAs(String(detail.node_id)))?.fail(detail.exception_message.trim());
    });
  },
  nodeCreated(node) {
    if (OVERLAYS.includes(node.comfyClass)) addOverlay(node);
  },
});
