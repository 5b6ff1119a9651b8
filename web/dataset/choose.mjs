// A folder for a node, by choosing instead of typing: those with pictures below ComfyUI's input and below what the
// operator lists, those that were used before, or a new one for pictures that are dropped.
import { copy, droppedFiles, hasFiles, sorted } from "./drop.mjs";
import { knownFolders } from "./known.mjs";
import { folderChoices } from "./source.mjs";
import { say } from "./words.mjs";
import { button } from "../lib/controls.mjs";
import { openDialog } from "../lib/dialog.mjs";
import { toast } from "../lib/notify.mjs";
import { element } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";

/**
 * @typedef {import("./drop.mjs").Dropped} Dropped
 * @typedef {import("./source.mjs").FolderChoices} FolderChoices
 */

const MOST_RECENT = 8;
const MOST_NAMED = 8;
const NEW_FOLDER = "my_pictures";

class Chooser {
  /**
   * @param {string} present path of the node's folder
   * @param {(folder: string) => void} chosen
   */
  constructor(present, chosen) {
    this.present = present;
    this.chosen = chosen;
    /** @type {FolderChoices} */
    this.choices = { input: "", folders: [], endings: { pictures: [], captions: [] } };
    /** @type {File[]} */
    this.files = [];
    this.copying = new AbortController();
    this.lists = element("div", { className: "sf-choose-lists" });
    this.said = element("div", { className: "sf-choose-said", role: "status" });
    this.root = element("div", { className: "sf-choose" }, [this.adding(), this.placing(), this.lists, this.said]);
    this.root.addEventListener("dragover", (event) => hasFiles(event.dataTransfer) && event.preventDefault());
    this.root.addEventListener("drop", (event) => this.drop(event));
    this.drawFiles();
  }

  /** The part for pictures that are not on the server yet. */
  adding() {
    this.name = element("input", { className: "sf-field", value: NEW_FOLDER, spellcheck: false });
    const label = element("label", { className: "sf-row" }, [text("choose.name"), this.name]);
    this.picker = element("input", { type: "file", multiple: true, className: "sf-hidden" });
    this.folderPicker = element("input", { type: "file", webkitdirectory: true, className: "sf-hidden" });
    for (const picker of [this.picker, this.folderPicker]) {
      picker.addEventListener("change", () => this.take(pickedFiles(picker)));
    }
    const pick = button(() => this.picker.click(), { textContent: text("choose.pictures") });
    const pickFolder = button(() => this.folderPicker.click(), { textContent: text("choose.folder") });
    this.waiting = element("p", { className: "sf-choose-files" });
    this.copy = button(() => this.send(), { className: "sf-button sf-choose-copy" });
    const bar = element("div", { className: "sf-row" }, [pick, pickFolder, this.picker, this.folderPicker]);
    const title = element("h3", { textContent: text("choose.add") });
    const go = element("div", { className: "sf-row" }, [label, this.copy]);
    return element("section", { className: "sf-choose-add" }, [title, bar, this.waiting, go]);
  }

  /** The part for a folder that is used where it is. */
  placing() {
    const path = element("input", { className: "sf-field", spellcheck: false, placeholder: text("choose.wherePath") });
    const use = button(() => this.choose(path.value.trim()), { textContent: text("choose.use"), disabled: true });
    path.addEventListener("input", () => (use.disabled = !path.value.trim()));
    path.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // or it presses the button that has the focus next
      use.click();
    });
    const label = element("label", { className: "sf-row" }, [text("choose.where"), path]);
    return element("div", { className: "sf-row sf-choose-where" }, [label, use]);
  }

  /** @param {DragEvent} event */
  async drop(event) {
    if (!event.dataTransfer || !hasFiles(event.dataTransfer)) return;
    event.preventDefault();
    this.take(await droppedFiles(event.dataTransfer));
  }

  /** @param {Dropped} dropped */
  take({ files, folder }) {
    this.files = files;
    if (folder && this.name.value === NEW_FOLDER) this.name.value = folder;
    this.said.replaceChildren();
    this.drawFiles();
  }

  async load() {
    try {
      this.choices = await folderChoices();
    } catch (error) {
      this.tell([say(error.message)]);
    }
    const here = this.choices.folders.find(({ path }) => path === this.present);
    if (here && here.name !== here.path && this.name.value === NEW_FOLDER) this.name.value = here.name;
    this.drawLists();
    this.drawFiles();
  }

  drawLists() {
    const { folders, input } = this.choices;
    const paths = new Set(folders.map(({ path }) => path));
    const recent = knownFolders().filter((path) => !paths.has(path)).slice(0, MOST_RECENT);
    const counted = ({ path, name, pictures: count }) =>
      this.entry(path, name, text(count === 1 ? "dataset.picture" : "dataset.pictures", { count }));
    this.lists.replaceChildren(
      this.list(text("choose.input"), input, folders.map(counted), text("choose.noFolders")),
      this.list(text("choose.recent"), "", recent.map((path) => this.entry(path, path, "")), text("choose.noRecent")),
    );
  }

  /**
   * @param {string} heading
   * @param {string} place
   * @param {HTMLElement[]} entries
   * @param {string} nothing what is said when there are none
   */
  list(heading, place, entries, nothing) {
    const title = element("h3", { textContent: heading, title: place });
    const items = entries.map((entry) => element("li", {}, [entry]));
    const none = element("p", { className: "sf-quiet", textContent: nothing });
    return element("section", {}, [title, items.length ? element("ul", {}, items) : none]);
  }

  /**
   * @param {string} path
   * @param {string} name
   * @param {string} count
   */
  entry(path, name, count) {
    const words = [element("span", { textContent: name }), element("span", { className: "sf-quiet", textContent: count })];
    return button(() => this.choose(path), { title: path, className: "sf-button sf-choose-entry" }, words);
  }

  drawFiles() {
    const { pictures, captions, others } = sorted(this.files, this.choices.endings);
    const counts = { pictures: pictures.length, captions: captions.length };
    const left = others.length ? [text("choose.others", { names: some(others) })] : [];
    const lines = this.files.length ? [text("choose.waiting", counts), ...left] : [text("choose.dropHere")];
    this.waiting.textContent = lines.join("\n");
    this.copy.textContent = text("choose.copy", { count: pictures.length });
    this.copy.disabled = !pictures.length && !captions.length;
  }

  async send() {
    if (this.busy) return;
    this.busy = true; // and not disabled: the editor takes Escape where nothing has the focus
    const folder = this.name.value.trim();
    const progress = (done, all) => this.tell([text("choose.copying", { done, all })]);
    try {
      const files = sorted(this.files, this.choices.endings);
      const copied = await copy(folder, files, this.copying.signal, progress);
      this.sent(folder, copied);
    } catch (error) {
      if (!this.copying.signal.aborted) this.tell([say(error.message)]);
    }
    this.busy = false;
  }

  /**
   * @param {string} name of the folder
   * @param {import("./drop.mjs").Copied} copied
   */
  sent(name, { folder, fresh, same, renamed, refused }) {
    const there = same ? [text("choose.same", { count: same })] : [];
    const names = renamed.map(([before, now]) => `${before} → ${now}`);
    const moved = names.length ? [text("choose.renamed", { names: some(names) })] : [];
    const lines = [text("choose.copied", { count: fresh, folder: name }), ...there, ...moved];
    if (!folder) return this.tell(refused.map(say));
    this.files = [];
    if (!refused.length) {
      toast("success", lines[0], lines.slice(1).join("\n"));
      return this.choose(folder);
    }
    this.chosen(folder);
    this.drawFiles();
    this.tell([...lines, text("choose.refused"), ...refused.slice(0, MOST_NAMED).map(say)]);
    this.load();
  }

  /** @param {string[]} lines */
  tell(lines) {
    this.said.textContent = lines.join("\n");
  }

  /** @param {string} folder */
  choose(folder) {
    this.chosen(folder);
    this.root.closest("dialog")?.close();
  }
}

/** @param {HTMLInputElement} picker @returns {Dropped} files of the folder itself, not of those below it */
function pickedFiles(picker) {
  const files = [...(picker.files ?? [])];
  const parts = (file) => file.webkitRelativePath.split("/");
  return { files: files.filter((file) => parts(file).length < 3), folder: files[0] ? parts(files[0]).at(-2) ?? "" : "" };
}

/** @param {string[]} names */
function some(names) {
  const more = names.length - MOST_NAMED;
  const shown = names.slice(0, MOST_NAMED).join(", ");
  return more > 0 ? `${shown} ${text("dataset.andMore", { count: more })}` : shown;
}

/**
 * Let the user choose a folder.
 * @param {string} present path of the node's folder
 * @param {(folder: string) => void} chosen told of a folder that the node is to have
 * @param {Dropped} [dropped] files that are to be copied into one
 */
export async function chooseFolder(present, chosen, dropped) {
  const chooser = new Chooser(present, chosen);
  const closed = openDialog(text("choose.title"), chooser.root);
  if (dropped) chooser.take(dropped);
  await chooser.load();
  (dropped ? chooser.copy : chooser.lists.querySelector("button") ?? chooser.name).focus();
  await closed;
  chooser.copying.abort();
}
