// The report of a run that made masks, in a dialog; and what to say when the server cannot be asked for anything.
import { api } from "../../../scripts/api.js";
import { button } from "../lib/controls.mjs";
import { openDialog } from "../lib/dialog.mjs";
import { toast } from "../lib/notify.mjs";
import { element } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";

/** Say that the server is away. */
export function tellAbsence() {
  toast("error", text("dataset.noAnswer"));
}

/** @param {import("./runs.mjs").Report} report */
export async function openReport({ filename, subfolder, type, path }) {
  const query = new URLSearchParams({ filename, subfolder, type });
  const answer = await api.fetchApi(`/view?${query}`).catch(tellAbsence);
  if (!answer) return;
  if (!answer.ok) return toast("error", text("dataset.noReport", { file: path }));
  // ComfyUI gives pages out for download only; without scripts it may as well be looked at here
  const page = element("iframe", { title: text("dataset.report"), srcdoc: await answer.text() });
  page.setAttribute("sandbox", "");
  const file = element("code", { className: "sf-status", textContent: path, title: path });
  const copy = button(() => copyText(path, file), { textContent: text("dataset.copy") });
  const bar = element("div", { className: "sf-row" }, [file, copy]);
  await openDialog(text("dataset.report"), element("div", { className: "sf-dataset-report" }, [bar, page]));
}

/**
 * @param {string} words
 * @param {HTMLElement} shown to be selected where the browser does not let a page copy
 */
async function copyText(words, shown) {
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    getSelection()?.selectAllChildren(shown);
  }
}
