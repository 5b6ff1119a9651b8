// The sockets of LoRA Train Step that few trainings use. A node has them when its workflow was saved with them, or when
// they are asked for: the others are folded.
import { undoable } from "../lib/panel.mjs";
import { socketName } from "../lib/text.mjs";

const RARE = [
  "adapter",
  "timestep_options",
  "train_state",
  "start_from",
  "training_adapter",
  "empty_prompt",
  "repeats",
  "scenes",
];
const OPTIONAL = 7; // the editor's shape of a socket that may stay empty

/** @type {Map<string, {type: string, tooltip?: string}>} what the server says of each, in the order of RARE */
const known = new Map();

/**
 * Take the rare ones out of what the editor makes new nodes of.
 * @param {{name: string, input?: {optional?: Record<string, any>}, input_order?: {optional?: string[]}}} definition
 */
export function foldRare({ input, input_order: order }) {
  const optional = input?.optional ?? {};
  for (const name of RARE) {
    if (!optional[name]) continue;
    const [type, options] = optional[name];
    known.set(name, { type, tooltip: options?.tooltip });
    delete optional[name];
  }
  if (order?.optional) order.optional = order.optional.filter((name) => !known.has(name));
}

/** @param {any} node @returns {string[]} the rare sockets that it does not show */
const folded = (node) => [...known.keys()].filter((name) => !node.inputs.some((input) => input.name === name));

/** @param {any} node */
export const showsRare = (node) => folded(node).length === 0;

/**
 * Show the rare sockets, or fold those that nothing is connected to.
 * @param {any} node
 */
export function toggleRare(node) {
  const missing = folded(node);
  undoable(() => {
    if (missing.length) {
      for (const name of missing) {
        const { type, tooltip } = /** @type {{type: string, tooltip?: string}} */ (known.get(name));
        node.addInput(name, type, { shape: OPTIONAL, tooltip, localized_name: socketName(node.type, name) });
      }
    } else {
      const free = (input) => known.has(input.name) && input.link == null;
      for (let slot = node.inputs.length - 1; slot >= 0; slot--) if (free(node.inputs[slot])) node.removeInput(slot);
    }
    node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
  });
}
