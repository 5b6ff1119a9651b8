// A DOM panel inside a node that behaves in both renderers of the graph editor.
import { app } from "../../../scripts/app.js";

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, any>} [properties] element properties; `style`, `dataset` and `aria` are objects
 * @param {(Node | string)[]} [children]
 * @returns {any}
 */
export function element(tag, properties = {}, children = []) {
  const { style, dataset, aria, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.style, style);
  Object.assign(made.dataset, dataset);
  for (const [name, value] of Object.entries(aria ?? {})) made.setAttribute(`aria-${name}`, value);
  made.append(...children);
  return made;
}

/**
 * Load a stylesheet of the pack once.
 * @param {string} url absolute: new URL("name.css", import.meta.url).href
 */
export function addStylesheet(url) {
  if (document.querySelector(`link[href="${url}"]`)) return;
  document.head.append(element("link", { rel: "stylesheet", href: url }));
}

addStylesheet(new URL("panel.css", import.meta.url).href);

// the Vue renderer of 1.32 lets only widgets of this class grow with the node
const GROWS = "widget-expands";
const KEYWORDS_HEIGHT = 120; // in graph units

/** Keys that a control in a panel needs, and that the editor would take for shortcuts. */
const OWN_KEYS = /^(Arrow.*|Home|End|Page.*|Enter|Escape| |Delete|Backspace)$/;

/** @type {WeakMap<object, Map<string, HTMLElement>>} by node and widget name */
const panels = new WeakMap();

/**
 * Show the panels of the present nodes. The Vue renderer keeps the element of the node that had the same id before,
 * for example after Undo.
 */
function remount() {
  for (const old of document.querySelectorAll("[data-node-id] .sf-panel")) {
    const id = /** @type {HTMLElement} */ (old.closest("[data-node-id]")).dataset.nodeId;
    const name = /** @type {HTMLElement} */ (old).dataset.widget ?? "";
    const present = panels.get(app.canvas.graph?.getNodeById(id))?.get(name);
    if (present && present !== old) old.replaceWith(present);
  }
}

function remountSoon() {
  // Vue draws a little later
  requestAnimationFrame(remount);
  setTimeout(remount, 250);
}

app.registerExtension({
  name: "SemanticFocus.Panels",
  setup() {
    // into a subgraph that was made of these nodes, and out again
    app.canvas.canvas.addEventListener("litegraph:set-graph", remountSoon);
  },
  afterConfigureGraph: remountSoon,
});

/**
 * Put a panel without a value of its own into a node.
 * @param {any} node LiteGraph node
 * @param {string} name unique widget name
 * @param {HTMLElement} root
 * @param {number} minHeight in graph units
 * @returns {any} the widget
 */
export function addPanel(node, name, root, minHeight) {
  root.classList.add("sf-panel", GROWS);
  root.dataset.widget = name;
  // the Vue renderer takes the height from CSS, LiteGraph from getMinHeight
  root.style.minHeight = `${minHeight}px`;
  for (const type of ["pointerdown", "pointermove", "pointerup"]) {
    // otherwise the Vue renderer drags the node when the pointer moves in the panel
    root.addEventListener(type, (event) => event.stopPropagation());
  }
  root.addEventListener("keydown", (event) => {
    if (OWN_KEYS.test(event.key) && !event.ctrlKey && !event.metaKey) event.stopPropagation();
  });
  root.addEventListener("wheel", (event) => {
    // a list that can scroll further does; otherwise the editor zooms
    if (!event.ctrlKey && scrollsAt(event.target, root, event.deltaY)) event.stopPropagation();
    // LiteGraph does not see the wheel over a panel, and zooming would stop there
    else if (!root.closest("[data-node-id]")) app.canvas.processMouseWheel(event);
  });
  const widget = node.addDOMWidget(name, "SEMANTIC_FOCUS_PANEL", root, {
    serialize: false, // not part of the prompt
    hideInPanel: true,
    hideOnZoom: false,
    margin: 8,
    getMinHeight: () => minHeight,
  });
  widget.serialize = false; // not part of the workflow file
  if (!panels.has(node)) panels.set(node, new Map());
  panels.get(node)?.set(name, root);
  return widget;
}

/** The text field of a node that the user is at: what is half written is not meant yet. */
export function typedIn() {
  const at = document.activeElement;
  const isField = at?.matches("textarea, input:not([type=range], [type=checkbox])");
  return isField && at?.closest("[data-node-id], .dom-widget, .graphdialog") ? at : null;
}

/**
 * Keep a node's field of keywords low: the height that the node has to spare belongs to its panel.
 * @param {any} node
 */
export function limitKeywords(node) {
  const keywords = widgetOf(node, "keywords");
  if (keywords) keywords.options.getMaxHeight = () => KEYWORDS_HEIGHT;
}

/**
 * @param {EventTarget | null} target
 * @param {HTMLElement} root
 * @param {number} delta
 * @returns {boolean} whether something between the two can scroll this way
 */
function scrollsAt(target, root, delta) {
  for (let at = /** @type {HTMLElement | null} */ (target); at && at !== root; at = at.parentElement) {
    const room = delta < 0 ? at.scrollTop : at.scrollHeight - at.clientHeight - at.scrollTop;
    if (room >= 1 && /auto|scroll/.test(getComputedStyle(at).overflowY)) return true;
  }
  return false;
}

/**
 * Call `after` whenever `target[name]` has been called, keeping what was there.
 * @param {any} target node or widget
 * @param {string} name
 * @param {(...args: any[]) => void} after
 */
export function chain(target, name, after) {
  const before = target[name];
  target[name] = function (...args) {
    const result = before?.apply(this, args);
    after.apply(this, args);
    return result;
  };
}

/**
 * Make a change that Undo takes back.
 * @param {() => void} change
 */
export function undoable(change) {
  app.canvas.emitBeforeChange();
  try {
    change();
  } finally {
    app.canvas.emitAfterChange(); // or the editor would never again note a change
  }
}

/**
 * The widget of a node with this name.
 * @param {any} node
 * @param {string} name
 * @returns {any}
 */
export function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}
