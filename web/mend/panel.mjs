// The controls beside the picture: regions, tools and their sizes, edges, undo, and how the masks are looked at.
import { button } from "../lib/controls.mjs";
import { doubtsInWords } from "../lib/doubts.mjs";
import { colourOf, css } from "../lib/palette.mjs";
import { element } from "../lib/panel.mjs";
import { regionName, regionNames, text } from "../lib/text.mjs";
import { LEAST_SIZE, MOST_SIZE, TOOLS } from "./tools.mjs";
import { KEYS } from "./words.mjs";

/**
 * @typedef {import("./session.mjs").Session} Session
 * @typedef {import("./tools.mjs").Tools} Tools
 * @typedef {{before: boolean, hidden: boolean}} Look
 * @typedef {{look: () => Look, setLook: (look: Partial<Look>) => void, pointOut: (at: number) => void}} Actions
 */

const STEPS = { min: 0, max: 1, step: 0.05 };

/** A heading with what belongs to it. @param {string} key @param {HTMLElement[]} parts */
function group(key, parts) {
  const heading = element("h3", { textContent: text(`mend.${key}`) });
  return element("section", {}, [heading, ...parts]);
}

/** @param {string} key */
function hint(key) {
  return element("kbd", { textContent: key.toUpperCase(), ariaHidden: "true" });
}

/**
 * A slider that says its value.
 * @param {string} key
 * @param {Record<string, any>} range
 * @param {(value: number) => void} move
 * @returns {{input: any, value: any, root: any}}
 */
function slider(key, range, move) {
  const input = element("input", { type: "range", ...range });
  input.addEventListener("input", () => move(Number(input.value)));
  const name = element("span", { textContent: text(`mend.${key}`) });
  const value = element("output", {});
  return { input, value, root: element("label", { className: "sf-mend-slider" }, [name, input, value]) };
}

/**
 * @param {any} control
 * @param {boolean} pressed
 */
function press(control, pressed) {
  control.setAttribute("aria-pressed", String(pressed));
}

export class Panel {
  /**
   * @param {Session} session
   * @param {Tools} tools
   * @param {Actions} actions
   */
  constructor(session, tools, actions) {
    this.session = session;
    this.tools = tools;
    this.actions = actions;
    /** @type {any[]} a button for each region */
    this.chips = [];
    this.regions = element("div", { className: "sf-mend-regions", role: "group", ariaLabel: text("mend.regions") });
    this.doubts = element("section", { className: "sf-mend-doubts" });
    this.size = slider("size", { min: 0, max: 1, step: 0.01 }, (share) =>
      tools.set({ size: Math.max(LEAST_SIZE, Math.round(MOST_SIZE ** share)) }),
    );
    this.hardness = slider("hardness", STEPS, (hardness) => tools.set({ hardness }));
    this.tolerance = slider("tolerance", STEPS, (tolerance) => tools.set({ tolerance }));
    this.opacity = slider("opacity", STEPS, (opacity) => tools.set({ opacity }));
    this.buttons = TOOLS.map(({ id, key }) =>
      button(() => tools.set({ tool: id }), { dataset: { tool: id }, title: text(`mend.tips.${id}`) }, [
        text(`mend.tool.${id}`),
        hint(key),
      ]),
    );
    this.choice = element("div", { className: "sf-mend-tools", role: "group", ariaLabel: text("mend.tools") }, this.buttons);
    this.close = button((event) => tools.closeOutline(event), { textContent: text("mend.closeOutline") });
    this.makeEdges();
    this.makeLook();
    this.makeTakeBack();
    const rows = KEYS.map(([keys, what]) =>
      element("tr", {}, [
        element("th", { scope: "row", textContent: keys }),
        element("td", { textContent: text(`mend.keys.${what}`) }),
      ]),
    );
    const keys = element("details", { className: "sf-mend-keys" }, [
      element("summary", { textContent: text("mend.keyboard") }),
      element("table", {}, [element("tbody", {}, rows)]),
    ]);
    this.root = element("div", { className: "sf-mend-panel" }, [
      this.doubts,
      group("regions", [this.regions]),
      group("tools", [this.choice, this.size.root, this.hardness.root, this.tolerance.root, this.close]),
      group("edges", [this.edges]),
      group("steps", [this.steps]),
      group("look", [this.opacity.root, this.looks]),
      group("byHand", [this.said, this.backs]),
      keys,
    ]);
  }

  makeEdges() {
    const { session, tools } = this;
    this.snap = button(() => session.snap(null), { title: text("mend.tips.snap") }, [text("mend.snap"), hint("s")]);
    this.always = element("input", { type: "checkbox" });
    this.always.addEventListener("change", () => tools.set({ snaps: this.always.checked }));
    const label = element("label", { className: "sf-row", title: text("mend.tips.snaps") }, [this.always, text("mend.snaps")]);
    this.edges = element("div", { className: "sf-wrap" }, [this.snap, label]);
    this.undo = button(() => session.undo(), { textContent: `↶ ${text("mend.undo")}` });
    this.redo = button(() => session.redo(), { textContent: `↷ ${text("mend.redo")}` });
    this.steps = element("div", { className: "sf-wrap" }, [this.undo, this.redo]);
  }

  makeLook() {
    const { actions } = this;
    const before = () => actions.setLook({ before: !actions.look().before });
    this.before = button(before, { title: text("mend.tips.before") }, [text("mend.before"), hint("c")]);
    const hide = () => actions.setLook({ hidden: !actions.look().hidden });
    this.hide = button(hide, { title: text("mend.tips.hide") }, [text("mend.hide"), hint("h")]);
    this.looks = element("div", { className: "sf-wrap" }, [this.before, this.hide]);
  }

  makeTakeBack() {
    const { session } = this;
    this.said = element("p", { className: "sf-quiet" });
    this.takeRegion = button(() => session.takeBack([session.chosen]), { title: text("mend.tips.takeBack") });
    this.takeAll = button(() => session.takeBack(null), { textContent: text("mend.takeAll") });
    this.takeAll.title = text("mend.tips.takeBack");
    this.backs = element("div", { className: "sf-wrap" }, [this.takeRegion, this.takeAll]);
  }

  /** Another picture, or other masks: make the list of regions. */
  list() {
    const { session } = this;
    const labels = session.layers?.labels ?? [];
    this.chips = labels.map(({ name }, at) => {
      const swatch = element("span", { className: "sf-swatch", style: { background: css(colourOf(name)) } });
      const mark = element("span", { className: "sf-mend-mark" });
      const parts = [swatch, element("span", { textContent: regionName(name) }), mark, ...(at < 9 ? [hint(`${at + 1}`)] : [])];
      return button(() => session.choose(name), { dataset: { region: name } }, parts);
    });
    this.regions.replaceChildren(...this.chips);
    this.update();
  }

  /** What is not sure; a save may have decided some of it. */
  listDoubts() {
    const { doubts } = this.session;
    const said = JSON.stringify(doubts);
    if (said === this.doubted) return;
    this.doubted = said;
    const buttons = doubts.map((doubt, at) =>
      button(() => this.actions.pointOut(at), { dataset: { doubt: at }, textContent: doubtsInWords([doubt])[0] }),
    );
    this.doubts.replaceChildren(...buttons);
    this.doubts.classList.toggle("sf-hidden", !buttons.length);
  }

  /** Show what is chosen, and what can be done. */
  update() {
    const { session, tools } = this;
    const { tool, size, hardness, tolerance, snaps, opacity } = tools.settings;
    const byHand = session.layers ? this.byHand() : [];
    this.listDoubts();
    for (const chip of this.chips) {
      press(chip, chip.dataset.region === session.chosen);
      const isSaid = byHand.includes(chip.dataset.region);
      const mark = chip.querySelector(".sf-mend-mark");
      mark.textContent = isSaid ? "✎" : "";
      chip.title = isSaid ? text("mend.madeByHand") : "";
    }
    for (const each of this.buttons) press(each, each.dataset.tool === tool);
    this.size.input.value = Math.log(Math.max(1, size)) / Math.log(MOST_SIZE);
    this.size.value.textContent = `${size} px`;
    this.size.input.setAttribute("aria-valuetext", `${size} px`);
    this.hardness.input.value = hardness;
    this.hardness.value.textContent = `${Math.round(100 * hardness)}%`;
    this.tolerance.input.value = tolerance;
    this.tolerance.value.textContent = `${Math.round(100 * tolerance)}%`;
    for (const part of [this.size, this.hardness]) part.root.classList.toggle("sf-hidden", !tools.hasSize);
    this.tolerance.root.classList.toggle("sf-hidden", tool !== "fill");
    this.close.classList.toggle("sf-hidden", tool !== "outline");
    this.close.disabled = tools.corners.length < 3;
    this.always.checked = snaps;
    this.snap.disabled = session.label < 0;
    this.undo.disabled = !session.history?.done.length;
    this.redo.disabled = !session.history?.undone.length;
    this.opacity.input.value = opacity;
    this.opacity.value.textContent = `${Math.round(100 * opacity)}%`;
    const { before, hidden } = this.actions.look();
    press(this.before, before);
    press(this.hide, hidden);
    const names = byHand.length ? regionNames(byHand.join(", ")) : text("mend.nothingByHand");
    this.said.textContent = names;
    this.takeRegion.textContent = text("mend.takeRegion", { region: regionName(session.chosen) });
    this.takeRegion.disabled = !byHand.includes(session.chosen);
    this.takeAll.disabled = !byHand.length;
  }

  /** What the hand has said something of; looked through once for each state of the masks. */
  byHand() {
    const { layers, history } = this.session;
    const version = history?.version;
    if (this.known?.layers !== layers || this.known?.version !== version) {
      this.known = { layers, version, names: layers?.byHand ?? [] };
    }
    return this.known?.names ?? [];
  }
}
