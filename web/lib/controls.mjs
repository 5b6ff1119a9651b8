// Small parts that several panels have.
import { colourOf, css } from "./palette.mjs";
import { element } from "./panel.mjs";

/**
 * Make a button.
 * @param {(event: MouseEvent) => void} press
 * @param {Record<string, any>} [properties] as `element` takes them; an own `className` stands for "sf-button"
 * @param {(Node | string)[]} [children]
 * @returns {any}
 */
export function button(press, properties, children) {
  const made = element("button", { type: "button", className: "sf-button", ...properties }, children);
  made.addEventListener("click", press);
  return made;
}

/**
 * Name a control that shows a sign only.
 * @param {HTMLElement} control
 * @param {string} words
 */
export function entitle(control, words) {
  control.title = words;
  control.setAttribute("aria-label", words);
}

/** @param {string} region @returns {HTMLElement} its colour */
export function swatch(region) {
  return element("span", { className: "sf-swatch", style: { background: css(colourOf(region)) } });
}

/**
 * @param {HTMLElement[]} headings
 * @param {HTMLElement[]} rows
 * @returns {HTMLElement}
 */
export function table(headings, rows) {
  return element("table", {}, [
    element("thead", {}, [element("tr", {}, headings)]),
    element("tbody", {}, rows),
  ]);
}
