// Which panels are in use: those of nodes that are in the workflow. Copying makes nodes that never get into it, and
// nodes in subgraphs are not told all that happens: ComfyUI 1.32 clears subgraphs without a word to them.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { everyNode } from "./graph.mjs";
import { chain } from "./panel.mjs";

/** @type {Map<Map<any, any>, WeakMap<any, any>>} by the present panels of a kind, all that were made */
const kinds = new Map();

/**
 * The panels of one kind, by node, as long as the node is in the workflow.
 * @template Kind
 * @returns {Map<any, Kind>} to be filled by `follow`
 */
export function presentPanels() {
  const panels = new Map();
  kinds.set(panels, new WeakMap());
  return panels;
}

/**
 * Have a panel among the present ones while its node is in the workflow. Where it has `attach` and `detach`, they are
 * called when the node has come and when it has gone.
 * @template Kind
 * @param {Map<any, Kind>} panels
 * @param {any} node a new one, in no graph yet
 * @param {Kind} panel
 */
export function follow(panels, node, panel) {
  kinds.get(panels)?.set(node, panel);
  chain(node, "onAdded", () => setTimeout(look)); // a subgraph around it may not be there yet
  chain(node, "onRemoved", () => leave(panels, node));
}

/**
 * @param {Map<any, any>} panels
 * @param {any} node
 */
function leave(panels, node) {
  const panel = panels.get(node);
  panels.delete(node);
  panel?.detach?.();
}

function look() {
  const there = new Set([...everyNode()].map(({ node }) => node));
  for (const [panels, made] of kinds) {
    for (const node of panels.keys()) if (!there.has(node)) leave(panels, node);
    for (const node of there) {
      const panel = made.get(node);
      if (!panel || panels.has(node)) continue;
      panels.set(node, panel);
      panel.attach?.();
    }
  }
}

api.addEventListener("graphChanged", look);

app.registerExtension({ name: "SemanticFocus.Present", afterConfigureGraph: look });
