// Short messages in the editor's corner.
import { app } from "../../../scripts/app.js";

const READING_TIME = 8000; // milliseconds

/**
 * Say something; it goes by itself, unless nobody is there to read it.
 * @param {"success" | "info" | "warn" | "error"} severity
 * @param {string} summary
 * @param {string} [detail]
 */
export function toast(severity, summary, detail) {
  const life = document.hidden ? undefined : READING_TIME;
  app.extensionManager.toast.add({ severity, summary, detail, life });
}
