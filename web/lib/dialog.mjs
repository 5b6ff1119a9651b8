// A panel's content, large, over the whole editor.
import { button, entitle } from "./controls.mjs";
import { element } from "./panel.mjs";
import { text } from "./text.mjs";

/**
 * Show an element in a modal dialog until the user closes it (Escape, the button, a click beside it).
 * @param {string} title
 * @param {HTMLElement} content
 * @param {() => Promise<boolean>} [mayClose] asked whenever the user closes it
 * @returns {Promise<void>} when it is closed
 */
export function openDialog(title, content, mayClose) {
  const leave = async () => {
    if (!mayClose || (await mayClose())) dialog.close();
  };
  const close = button(leave, { textContent: "✕" });
  entitle(close, text("dialog.close"));
  const heading = element("h2", { textContent: title });
  const dialog = element("dialog", { className: "sf-dialog", aria: { label: title } }, [
    element("header", {}, [heading, close]),
    content,
  ]);
  // pressed, not clicked: a slider that is dragged beyond the dialog's border must not close it
  dialog.addEventListener("pointerdown", (event) => {
    if (!isInside(dialog.getBoundingClientRect(), event)) leave();
  });
  dialog.addEventListener("cancel", (event) => {
    if (!mayClose) return;
    event.preventDefault();
    leave();
  });
  // the editor has shortcuts of one key, and takes Escape for itself
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((closed) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      closed();
    });
  });
}

/**
 * @param {DOMRect} box
 * @param {PointerEvent} event
 */
function isInside({ left, top, right, bottom }, { clientX: x, clientY: y }) {
  return left <= x && x <= right && top <= y && y <= bottom;
}
