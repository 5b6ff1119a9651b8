// A run folder for a node, by choosing instead of typing: those below ComfyUI's output and below what the operator lists,
// the latest first, and those that were watched before.
import { knownFolders, RUNS } from "../dataset/known.mjs";
import { ask } from "../dataset/source.mjs";
import { say } from "../dataset/words.mjs";
import { button } from "../lib/controls.mjs";
import { openDialog } from "../lib/dialog.mjs";
import { element } from "../lib/panel.mjs";
import { language, text } from "../lib/text.mjs";

const ROUTE = "/semantic_focus/training/folders";
const MOST_RECENT = 12;

/** @typedef {{path: string, name: string, written: number}} Choice `written` in seconds since the epoch */

/** @param {number} seconds since the epoch */
const moment = (seconds) => new Date(1000 * seconds).toLocaleString(language(), { dateStyle: "medium", timeStyle: "short" });

/**
 * Let the user choose the folder of a run.
 * @param {string} present
 * @param {(folder: string) => void} chosen
 */
export async function chooseRun(present, chosen) {
  const lists = element("div", { className: "sf-choose-lists" });
  const said = element("div", { className: "sf-choose-said", role: "status" });
  const root = element("div", { className: "sf-choose" }, [lists, said]);
  const closed = openDialog(text("training.chooseRun"), root);

  const entry = (path, name, detail) => {
    const words = [element("span", { textContent: name }), element("span", { className: "sf-quiet", textContent: detail })];
    const choose = () => {
      chosen(path);
      root.closest("dialog")?.close();
    };
    const aria = { current: String([path, name].includes(present)) };
    return button(choose, { title: path, className: "sf-button sf-choose-entry", aria }, words);
  };
  const list = (heading, entries, nothing) => {
    const items = entries.map((one) => element("li", {}, [one]));
    const content = items.length
      ? element("ul", {}, items)
      : element("p", { className: "sf-quiet", textContent: nothing });
    return element("section", {}, [element("h3", { textContent: heading }), content]);
  };

  said.textContent = text("training.looking");
  try {
    const { runs } = await ask(ROUTE, {});
    const there = new Set(runs.flatMap(({ path, name }) => [path, name]));
    const recent = knownFolders(RUNS).filter((path) => !there.has(path)).slice(0, MOST_RECENT);
    const found = runs.map(({ path, name, written }) => entry(path, name, moment(written)));
    lists.replaceChildren(
      list(text("training.runs"), found, text("training.noRuns")),
      list(text("choose.recent"), recent.map((path) => entry(path, path, "")), text("choose.noRecent")),
    );
    said.textContent = "";
    lists.querySelector("button")?.focus();
  } catch (error) {
    said.textContent = say(error.message);
  }
  await closed;
}
