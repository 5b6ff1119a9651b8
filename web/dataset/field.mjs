// The folder of a dataset node, by a button or by dropping files, where it is the node's own and not another's.
import { app } from "../../../scripts/app.js";
import { chooseFolder } from "./choose.mjs";
import { droppedFiles, hasFiles } from "./drop.mjs";
import { remember } from "./known.mjs";
import { button, entitle } from "../lib/controls.mjs";
import { element, undoable, widgetOf } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";

export class FolderField {
  /**
   * @param {any} node
   * @param {() => string} folder that the node has, as the server names it
   * @param {() => void} changed
   */
  constructor(node, folder, changed) {
    this.node = node;
    this.folder = folder;
    this.changed = changed;
    this.open = button(() => this.choose(), {}, [element("i", { className: "pi pi-folder-open" })]);
    this.words = button(() => this.choose());
    this.hint = element("span", { className: "sf-quiet" });
    /** Shown in place of pictures where there are none. */
    this.start = element("div", { className: "sf-dataset-start" }, [this.words, this.hint]);
    // on the node beside the panel
    node.onDragOver = (event) => hasFiles(event.dataTransfer) && Boolean(this.widget);
    node.onDragDrop = (event) => this.drop(event);
  }

  /** The widget with the folder; null when the folder comes from another node. */
  get widget() {
    const linked = this.node.inputs?.some(({ name, link }) => name === "folder" && link != null);
    return linked ? null : (widgetOf(this.node, "folder") ?? null);
  }

  /** @param {HTMLElement} panel that takes files */
  listen(panel) {
    panel.addEventListener("dragover", (event) => {
      if (!hasFiles(event.dataTransfer) || !this.widget) return;
      event.preventDefault();
      event.stopPropagation(); // or the editor would take them for workflows
      panel.classList.add("sf-dropping");
    });
    const leave = () => panel.classList.remove("sf-dropping");
    panel.addEventListener("dragleave", leave);
    panel.addEventListener("drop", (event) => {
      leave();
      this.drop(event);
    });
  }

  /** @param {DragEvent} event @returns {boolean} whether its files are taken */
  drop(event) {
    const { dataTransfer: transfer } = event;
    if (!transfer || !hasFiles(transfer) || !this.widget) return false;
    event.preventDefault();
    event.stopPropagation();
    droppedFiles(transfer).then((dropped) => this.choose(dropped));
    return true;
  }

  /**
   * Let the user choose a folder.
   * @param {import("./drop.mjs").Dropped} [dropped] files to be copied into it
   */
  async choose(dropped) {
    const { widget } = this;
    if (!widget) return;
    await chooseFolder(this.folder(), (folder) => this.set(widget, folder), dropped);
    this.open.focus();
  }

  /**
   * @param {any} widget
   * @param {string} folder
   */
  set(widget, folder) {
    remember(folder);
    undoable(() => {
      widget.value = folder;
      widget.callback?.(folder, app.canvas, this.node);
    });
    this.changed();
  }

  relabel() {
    entitle(this.open, text("choose.open"));
    this.words.textContent = text("choose.openHere");
    this.hint.textContent = text("choose.orDrop");
  }

  /** @param {boolean} empty there are no pictures to show */
  draw(empty) {
    this.open.classList.toggle("sf-hidden", !this.widget);
    this.start.classList.toggle("sf-hidden", !this.widget || !empty);
  }
}
