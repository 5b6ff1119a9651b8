// The editor of masks as a whole: a bar above, controls beside, and the picture in the room that is left.
import { button, entitle } from "../lib/controls.mjs";
import { openDialog } from "../lib/dialog.mjs";
import { colourOf } from "../lib/palette.mjs";
import { addStylesheet, element } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";
import { Painter } from "./paint.mjs";
import { Panel } from "./panel.mjs";
import { Session } from "./session.mjs";
import { Stage } from "./stage.mjs";
import { Tools, TOOLS } from "./tools.mjs";
import { hintOf, stateInWords } from "./words.mjs";

/**
 * @typedef {import("./session.mjs").Item} Item
 * @typedef {import("./panel.mjs").Look} Look
 */

addStylesheet(new URL("mend.css", import.meta.url).href);

class View {
  /**
   * @param {Item[]} items
   * @param {number} at
   */
  constructor(items, at) {
    /** @type {Look} */
    this.look = { before: false, hidden: false };
    this.session = new Session(items, at, {
      draw: (box) => this.painter?.draw(box),
      opened: () => this.opened(),
      changed: () => this.update(),
    });
    this.tools = new Tools(this.session, () => (this.seen ??= this.stage.pixels()), () => this.update());
    this.stage = new Stage(this.tools);
    this.stage.onZoom = () => this.showZoom();
    this.panel = new Panel(this.session, this.tools, {
      look: () => this.look,
      setLook: (look) => this.setLook(look),
      pointOut: (doubt) => this.pointOut(doubt),
    });
    this.makeBar();
    this.fault = element("div", { className: "sf-mend-fault sf-hidden", role: "alert" });
    this.hint = element("p", { className: "sf-mend-hint sf-quiet" });
    const right = element("div", { className: "sf-mend-main" }, [this.fault, this.stage.root, this.hint]);
    this.root = element("div", { className: "sf-mend" }, [this.panel.root, right]);
    this.leaving = (event) => this.beforeUnload(event);
    this.hiding = () => document.visibilityState === "hidden" && this.session.unsaved && this.session.save();
    window.addEventListener("beforeunload", this.leaving);
    document.addEventListener("visibilitychange", this.hiding);
  }

  makeBar() {
    const { session } = this;
    const count = session.items.length;
    const turn = (by) => () => session.go(session.at + by);
    this.back = button(turn(-1), { textContent: "◀" });
    this.next = button(turn(1), { textContent: "▶" });
    this.place = element("span", { className: "sf-quiet" });
    this.doubtful = button(() => session.goToDoubtful(), { title: text("mend.tips.nextDoubt") }, [text("mend.nextDoubt")]);
    this.state = element("span", { className: "sf-status", role: "status" });
    this.out = button(() => this.stage.zoomSteps(-1), { textContent: "−" });
    this.fit = button(() => this.stage.fit(), { className: "sf-button sf-mend-zoom" });
    this.in = button(() => this.stage.zoomSteps(1), { textContent: "+" });
    this.reload = button(() => this.openAnew(), { textContent: "⟳" });
    this.save = button(() => session.save(), { textContent: text("mend.save") });
    this.leave = button(() => this.abandon(), { className: "sf-button sf-hidden", textContent: text("mend.leave") });
    entitle(this.back, text("mend.previous"));
    entitle(this.next, text("mend.next"));
    entitle(this.out, text("mend.zoomOut"));
    entitle(this.in, text("mend.zoomIn"));
    entitle(this.reload, text("mend.reload"));
    const pages = [this.back, this.place, this.next, this.doubtful];
    for (const part of pages) part.classList.toggle("sf-hidden", count < 2);
    const zoom = [this.out, this.fit, this.in];
    this.bar = element("div", { className: "sf-row sf-mend-bar" }, [
      ...pages,
      this.state,
      ...zoom,
      this.reload,
      this.leave,
      this.save,
    ]);
  }

  /**
   * Be in a dialog: the bar is beside its title.
   * @param {any} dialog
   */
  enter(dialog) {
    this.dialog = dialog;
    dialog.classList.add("sf-mend-dialog");
    dialog.querySelector("header").insertBefore(this.bar, dialog.querySelector("header button"));
    dialog.addEventListener("keydown", (event) => this.pressed(event));
    this.giveFocusBack(dialog);
    this.stage.root.focus();
    this.session.open();
  }

  /** After a click the keys belong to the picture again; who works by keyboard stays there. @param {any} dialog */
  giveFocusBack(dialog) {
    const back = () => this.root.isConnected && this.stage.root.focus({ preventScroll: true });
    dialog.addEventListener("click", (event) => {
      const isPointer = event.detail > 0 && event.target.closest("button, input[type=checkbox]");
      if (isPointer) back();
    });
    dialog.addEventListener("pointerup", (event) => {
      if (event.target.matches("input[type=range]")) setTimeout(back);
    });
  }

  /** Other layers, or none. */
  opened() {
    const { session, stage } = this;
    const { layers, picture } = session;
    this.seen = null;
    this.tools.reset();
    this.stage.marks.place = null;
    stage.show(picture, layers ?? { width: 1, height: 1 });
    this.painter = layers && new Painter(stage.masks, layers);
    if (this.painter && layers) this.painter.colours = layers.labels.map(({ name }) => colourOf(name));
    this.look.before = false;
    this.panel.list();
    this.update();
    this.painter?.draw();
    const [doubt] = session.doubts;
    if (doubt) stage.marks.place = doubt.box;
    stage.place();
  }

  update() {
    const { session, tools, stage } = this;
    const heading = this.dialog?.querySelector("h2");
    const name = session.opened?.file ?? session.item.name;
    if (heading) heading.textContent = text("mend.title", { name });
    if (this.painter) {
      const { chosen, before } = this.painter;
      Object.assign(this.painter, { chosen: session.label, before: this.look.before });
      if (before !== this.look.before || this.isAlone(chosen) || this.isAlone(session.label)) {
        if (chosen !== session.label || before !== this.look.before) this.painter.draw();
      }
    }
    stage.masks.style.opacity = this.look.hidden ? "0" : String(tools.settings.opacity);
    this.place.textContent = `${session.at + 1}/${session.items.length}`;
    this.state.textContent = stateInWords(session);
    this.state.dataset.unsaved = String(session.unsaved);
    this.save.disabled = !session.unsaved || session.busy === "saving";
    this.leave.classList.toggle("sf-hidden", !(session.fault && session.unsaved));
    const said = session.fault || session.note;
    this.fault.textContent = said;
    this.fault.classList.toggle("sf-hidden", !said);
    this.fault.classList.toggle("sf-mend-note", !session.fault);
    this.hint.textContent = session.layers ? hintOf(tools.tool, session.chosen) : "";
    stage.root.setAttribute("aria-label", text("mend.stage", { hint: this.hint.textContent }));
    this.panel.update();
    stage.place();
  }

  /** @param {number} label @returns {boolean} whether it is shown by itself */
  isAlone(label) {
    return Boolean(this.session.layers?.labels[label]?.soft);
  }

  showZoom() {
    this.fit.textContent = `${Math.round(100 * this.stage.zoom)}%`;
    this.fit.title = text("mend.fit");
  }

  /** @param {Partial<Look>} look */
  setLook(look) {
    this.look = { ...this.look, ...look };
    this.update();
  }

  /** @param {number} at which doubt */
  pointOut(at) {
    const doubt = this.session.doubts[at];
    if (!doubt) return;
    this.stage.marks.place = doubt.box;
    this.stage.lookAt(doubt.box);
  }

  async openAnew() {
    if (await this.session.save()) await this.session.open();
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    if (event.key === "Escape") {
      event.preventDefault(); // browsers close a dialog at the second Escape, whoever minds
      if (!this.tools.cancel()) this.dialog?.dispatchEvent(new Event("cancel", { cancelable: true }));
      return;
    }
    const act = this.actionOf(event);
    if (!act) return;
    event.preventDefault();
    act();
  }

  /**
   * What a key is for.
   * @param {KeyboardEvent} event
   * @returns {(() => any) | undefined}
   */
  actionOf(event) {
    const { session, tools, stage, panel } = this;
    const key = event.key.toLowerCase();
    // brackets need AltGr on some keyboards, which counts as Ctrl and Alt
    const sizes = { "[": -1, "]": 1, ",": -1, ".": 1 };
    if (key in sizes) return () => (event.shiftKey ? tools.harden(sizes[key] * 0.05) : tools.resize(sizes[key]));
    if (key === "{" || key === "}") return () => tools.harden(key === "{" ? -0.05 : 0.05);
    if (event.ctrlKey || event.metaKey) {
      const commands = { s: () => session.save(), y: () => session.redo() };
      return { ...commands, z: () => (event.shiftKey ? session.redo() : session.undo()) }[key];
    }
    if (event.altKey) return undefined;
    const tool = TOOLS.find((each) => each.key === key);
    if (tool) return () => tools.set({ tool: tool.id });
    const label = session.layers?.labels[Number(key) - 1];
    if (/^[1-9]$/.test(key)) return label && (() => session.choose(label.name));
    return {
      s: () => session.snap(null),
      c: () => this.setLook({ before: !this.look.before }),
      h: () => this.setLook({ hidden: !this.look.hidden }),
      n: () => session.goToDoubtful(),
      pageup: () => panel && session.go(session.at - 1),
      pagedown: () => session.go(session.at + 1),
      "+": () => stage.zoomSteps(1),
      "=": () => stage.zoomSteps(1),
      "-": () => stage.zoomSteps(-1),
      0: () => stage.fit(),
    }[key];
  }

  /** @param {BeforeUnloadEvent} event */
  beforeUnload(event) {
    if (this.session.unsaved) event.preventDefault();
  }

  /** Leave without what could not be saved. */
  abandon() {
    this.session.savedVersion = this.session.history?.version ?? 0;
    this.dialog?.close();
  }

  dispose() {
    window.removeEventListener("beforeunload", this.leaving);
    document.removeEventListener("visibilitychange", this.hiding);
    this.stage.dispose();
    this.session.end();
  }
}

/**
 * Mend the masks of pictures until the user closes the editor.
 * @param {Item[]} items to go through
 * @param {number} at which is shown first
 * @returns {Promise<{at: number, wrote: boolean}>} the last that was shown; whether anything was written
 */
export async function mend(items, at) {
  const view = new View(items, at);
  const closed = openDialog(text("mend.title", { name: items[at].name }), view.root, () => view.session.save());
  view.enter(view.root.closest("dialog"));
  await closed;
  view.dispose();
  return { at: view.session.at, wrote: view.session.wrote };
}
