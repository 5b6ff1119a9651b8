// Which panels are in use: those of nodes that are in a graph. Copying makes nodes that never get into one, and ComfyUI
// 1.32 clears subgraphs without a word to their nodes.
import { app } from "../../../scripts/app.js";
import { everyNode } from "./graph.mjs";
import { chain } from "./panel.mjs";

/** @type {Set<Map<any, any>>} */
const kinds = new Set();

/**
 * The panels of one kind, by node, as long as the node is in a graph.
 * @template Panel
 * @returns {Map<any, Panel>} to be filled by `follow`
 */
export function presentPanels() {
  const panels = new Map();
  kinds.add(panels);
  return panels;
}

/**
 * Have a panel among the present ones while its node is in a graph.
 * @template Panel
 * @param {Map<any, Panel>} panels
 * @param {any} node a new one, in no graph yet
 * @param {Panel} panel
 */
export function follow(panels, node, panel) {
  chain(node, "onAdded", () => panels.set(node, panel));
  chain(node, "onRemoved", () => panels.delete(node));
}

app.registerExtension({
  name: "SemanticFocus.Present",
  afterConfigureGraph() {
    const there = new Set([...everyNode()].map(({ node }) => node));
    for (const panels of kinds) for (const node of panels.keys()) if (!there.has(node)) panels.delete(node);
  },
});
