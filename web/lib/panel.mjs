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

// the Vue renderer of 1.32 lets only widgets of this class grow with the node; of the height that is to spare,
// the panel takes more than a text field beside it
const GROWS = "widget-expands";
document.head.append(
  element("style", { textContent: `.lg-node-widget:has(.semantic-focus-panel) { flex-grow: 6 !important }` }),
);

/** @type {WeakMap<object, HTMLElement>} by node */
const panels = new WeakMap();

/**
 * Show the panels of the present nodes. The Vue renderer keeps the element of the node that had the same id before,
 * for example after Undo.
 */
function remount() {
  for (const old of document.querySelectorAll("[data-node-id] .semantic-focus-panel")) {
    const id = /** @type {HTMLElement} */ (old.closest("[data-node-id]")).dataset.nodeId;
    const present = panels.get(app.canvas.graph?.getNodeById(id));
    if (present && present !== old) old.replaceWith(present);
  }
}

app.registerExtension({
  name: "SemanticFocus.Panels",
  afterConfigureGraph() {
    // Vue draws a little later
    requestAnimationFrame(remount);
    setTimeout(remount, 250);
  },
});

/**
 * Put a panel without a value of its own into a node.
 * @param {any} node LiteGraph node
 * @param {string} name unique widget name
 * @param {HTMLElement} root
 * @param {number} minHeight in graph units
 */
export function addPanel(node, name, root, minHeight) {
  root.classList.add("semantic-focus-panel", GROWS);
  // the Vue renderer takes the height from CSS, LiteGraph from getMinHeight
  root.style.minHeight = `${minHeight}px`;
  for (const type of ["pointerdown", "pointermove", "pointerup"]) {
    // otherwise the Vue renderer drags the node when the pointer moves in the panel
    root.addEventListener(type, (event) => event.stopPropagation());
  }
  // LiteGraph does not see the wheel over a panel, and zooming would stop there
  root.addEventListener("wheel", (event) => {
    if (!root.closest("[data-node-id]")) app.canvas.processMouseWheel(event);
  });
  const widget = node.addDOMWidget(name, "SEMANTIC_FOCUS_PANEL", root, {
    serialize: false, // not part of the prompt
    hideInPanel: true,
    hideOnZoom: false,
    margin: 8,
    getMinHeight: () => minHeight,
  });
  widget.serialize = false; // not part of the workflow file
  panels.set(node, root);
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
  change();
  app.canvas.emitAfterChange();
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
