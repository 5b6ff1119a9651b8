// Ways through the graph, past reroutes, bypassed nodes and the borders of subgraphs. What an input is fed with: read
// from the graph, because a prompt cannot be made without effects (some nodes record or upload when it is). And from an
// objective to the node whose segmentation it will be trained with: down to a training, and up the training's masks.
import { everyNode, placesOf, runIdAt } from "./graph.mjs";
import { widgetOf } from "./panel.mjs";

/** The nodes that report a segmentation (web/mask_overlay.js draws it in them). */
export const OVERLAYS = [
  "SemanticFocusSegment",
  "SemanticFocusPreview",
  "SemanticFocusSelectPersons",
  "SemanticFocusRefine",
];
/** It reports one too, and shows it in the browser of its folder. */
const PREPARER = "SemanticFocusPrepare";
const OBJECTIVE = "SEMANTIC_OBJECTIVE";
const MASKS = ["SEMANTIC_MASKS", "SEMANTIC_LATENT_MASKS"];
const TRAINED_MASKS = "latent_masks";

// LiteGraph's numbers
const MUTED = 2;
const BYPASSED = 4;
const SUBGRAPH_INPUT = -10;
const SUBGRAPH_OUTPUT = -20;

/**
 * @typedef {import("./graph.mjs").Place} Place
 * @typedef {Place & {slot: number}} Slot an input or an output of it
 */

/** @param {any} node */
const isSubgraph = (node) => Boolean(node.subgraph);

/** @param {any} node */
const isReroute = (node) => node.type === "Reroute";

/**
 * The inputs that an output leads to.
 * @param {Slot} from an output
 * @returns {Generator<Slot>}
 */
function* targets({ node, path, slot }) {
  for (const id of node.outputs[slot]?.links ?? []) yield* ends(node.graph, path, id);
}

/**
 * @param {any} graph
 * @param {any[]} path
 * @param {number} id of a link in it
 * @returns {Generator<Slot>}
 */
function* ends(graph, path, id) {
  const link = graph.getLink(id);
  if (!link) return;
  if (link.target_id === SUBGRAPH_OUTPUT) {
    const border = path.at(-1);
    if (border) yield* targets({ node: border, path: path.slice(0, -1), slot: link.target_slot });
    return;
  }
  const node = graph.getNodeById(link.target_id);
  if (!node) return;
  if (!isSubgraph(node) || node.mode === BYPASSED) {
    yield { node, path, slot: link.target_slot };
    return;
  }
  if (node.mode === MUTED) return;
  for (const inner of node.subgraph.inputs[link.target_slot]?.linkIds ?? []) {
    yield* ends(node.subgraph, [...path, node], inner);
  }
}

/**
 * The output that an input comes from.
 * @param {Slot} to an input
 * @returns {Slot | null}
 */
function origin({ node, path, slot }) {
  return start(node.graph, path, node.inputs[slot]?.link);
}

/**
 * @param {any} graph
 * @param {any[]} path
 * @param {number | null} id of a link in it
 * @returns {Slot | null}
 */
function start(graph, path, id) {
  const link = id == null ? null : graph.getLink(id);
  if (!link) return null;
  if (link.origin_id === SUBGRAPH_INPUT) {
    const border = path.at(-1);
    return border ? origin({ node: border, path: path.slice(0, -1), slot: link.origin_slot }) : null;
  }
  const node = graph.getNodeById(link.origin_id);
  if (!node) return null;
  if (!isSubgraph(node) || node.mode === BYPASSED) return { node, path, slot: link.origin_slot };
  if (node.mode === MUTED) return null;
  return start(node.subgraph, [...path, node], node.subgraph.outputs[link.origin_slot]?.linkIds?.[0]);
}

/**
 * Whether a run would execute a node, if anybody needed it.
 * @param {Place} place
 */
export function isActive({ node, path }) {
  return [...path, node].every(({ mode }) => mode !== MUTED && mode !== BYPASSED);
}

/**
 * The input that stands for an output of a bypassed node.
 * @param {Slot} from
 */
function bypass({ node, slot }) {
  const { type } = node.outputs[slot];
  if (node.inputs[slot]?.type === type) return slot;
  return node.inputs.findIndex((input) => input.type === type);
}

/**
 * @param {Place} place
 * @param {string} name of an input
 * @returns {Slot}
 */
function inputOf({ node, path }, name) {
  return { node, path, slot: (node.inputs ?? []).findIndex((input) => input.name === name) };
}

/**
 * The output that feeds an input.
 * @param {Place} place
 * @param {string} name of an input
 * @returns {Slot | null} null when there is none, or it is muted
 */
export function feederOf(place, name) {
  const seen = new Set();
  let from = origin(inputOf(place, name));
  while (from && from.node.mode !== MUTED && !seen.has(runIdAt(from))) {
    seen.add(runIdAt(from));
    if (from.node.mode === BYPASSED) from = origin({ ...from, slot: bypass(from) });
    else if (isReroute(from.node)) from = origin({ ...from, slot: 0 });
    else return from;
  }
  return null;
}

/**
 * The value that an input of a node has, in its own widget or at the end of its link.
 * @param {Place} place
 * @param {string} name
 * @returns {any} undefined when only a run can tell
 */
export function valueOf(place, name) {
  const own = () => widgetOf(place.node, name)?.value;
  const from = feederOf(place, name);
  if (!from) {
    const { node, slot } = outermost(inputOf(place, name));
    const input = node.inputs?.[slot];
    if (node === place.node) return input?.link == null ? own() : undefined;
    // a widget of the subgraph's node; the one inside is overruled by it
    return input.link == null ? (widgetOf(node, input.widget?.name ?? input.name)?.value ?? own()) : undefined;
  }
  if (from.node.type === "PrimitiveNode") return from.node.widgets?.[0]?.value;
  return from.node.type.startsWith("Primitive") ? valueOf(from, "value") : undefined;
}

/**
 * Whether a prompt has a link for an input of a node. The editor sends a value instead where a primitive of its own or a
 * widget of a subgraph gives it.
 * @param {Place} place
 * @param {string} name
 */
export function sendsLink(place, name) {
  const from = feederOf(place, name);
  return from !== null && from.node.type !== "PrimitiveNode";
}

/**
 * An input itself, or that of the outermost subgraph through whose border it is fed.
 * @param {Slot} to
 * @returns {Slot}
 */
function outermost({ node, path, slot }) {
  const id = node.inputs?.[slot]?.link;
  const link = id == null ? null : node.graph.getLink(id);
  const border = path.at(-1);
  if (!border || link?.origin_id !== SUBGRAPH_INPUT) return { node, path, slot };
  return outermost({ node: border, path: path.slice(0, -1), slot: link.origin_slot });
}

/**
 * The trainings (and dry runs) that an objective reaches, nearest first.
 * @param {Place} objective
 * @returns {Generator<Place>}
 */
function* trainings(objective) {
  const queue = outputs(objective);
  const seen = new Set();
  for (let from = queue.shift(); from; from = queue.shift()) {
    for (const to of targets(from)) {
      if (seen.has(to.node) || to.node.mode === MUTED) continue;
      seen.add(to.node);
      const passes = to.node.mode === BYPASSED;
      if (!passes && to.node.inputs.some(({ name }) => name === TRAINED_MASKS)) yield to;
      else queue.push(...outputs(to));
    }
  }
}

/**
 * @param {Place} place
 * @returns {Slot[]} the outputs through which it hands an objective on
 */
function outputs({ node, path }) {
  return (node.outputs ?? []).flatMap((output, slot) =>
    output.type === OBJECTIVE || isReroute(node) ? [{ node, path, slot }] : [],
  );
}

/**
 * The nodes that report the masks of a training, nearest first.
 * @param {Place} training
 * @returns {Generator<Place>}
 */
function* overlaysAbove(training) {
  const queue = [training];
  const seen = new Set();
  for (let at = queue.shift(); at; at = queue.shift()) {
    for (const [slot, input] of (at.node.inputs ?? []).entries()) {
      if (!MASKS.includes(input.type) && !isReroute(at.node)) continue;
      const from = origin({ ...at, slot });
      if (!from || seen.has(from.node) || from.node.mode === MUTED) continue;
      seen.add(from.node);
      if (reports(from.node)) yield from;
      queue.push(from);
    }
  }
}

/**
 * Whether a node has pictures to show its segmentation on: one with an input for them only where it is connected.
 * @param {any} node
 */
export function hasPictures(node) {
  const pictures = node.inputs?.find(({ name }) => name === "images");
  return !pictures || pictures.link != null;
}

/**
 * Whether a node reports a segmentation when it runs.
 * @param {any} node
 */
export function reports(node) {
  return [...OVERLAYS, PREPARER].includes(node.type) && isActive({ node, path: [] }) && hasPictures(node);
}

/**
 * The nodes whose segmentation an objective will be trained with, nearest to the training first. An objective that
 * reaches no training has those of the workflow, if there is only one.
 * @param {any} objective a node
 * @returns {{node: any, id: string}[]} with the ids that running them takes, such as "3:1"
 */
export function overlaysFor(objective) {
  /** @type {Place[]} */
  const found = [];
  for (const place of placesOf(objective)) {
    for (const training of trainings(place)) found.push(...overlaysAbove(training));
  }
  if (!found.length) {
    const all = [...everyNode()].filter(({ node }) => reports(node));
    if (all.length === 1) found.push(all[0]);
  }
  return found.map((place) => ({ node: place.node, id: runIdAt(place) }));
}
