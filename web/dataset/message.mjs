// What runs that make masks said of a node's folder, below its pictures.
import { openReport } from "./report.mjs";
import { resultInWords } from "./words.mjs";
import { button } from "../lib/controls.mjs";
import { element } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";

/**
 * The line below the pictures, empty where nothing was said.
 * @param {import("./runs.mjs").Result | undefined} result
 * @returns {HTMLElement[]}
 */
export function messageOf(result) {
  if (!result) return [];
  const said = resultInWords(result);
  const parts = [];
  if (said.length) {
    const [textContent, title] = [said.join(" · "), said.join("\n")];
    parts.push(element("span", { className: "sf-status", textContent, title }));
  }
  const report = "report" in result ? result.report : null;
  if (report) {
    const words = { textContent: text("dataset.report"), title: report.path };
    parts.push(button(() => openReport(report), words));
  }
  return parts;
}
