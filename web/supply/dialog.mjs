// The weights of segmenters: what each is, its licence, its size and where it goes; brought at a click.
import { act, heard, isUnderWay, onProgress } from "./server.mjs";
import { fault, nameOf, progress, size } from "./words.mjs";
import { button } from "../lib/controls.mjs";
import { openDialog } from "../lib/dialog.mjs";
import { element } from "../lib/panel.mjs";
import { regionNames, text } from "../lib/text.mjs";

/**
 * @typedef {import("./server.mjs").Offer} Offer
 * @typedef {import("./server.mjs").Outlook} Outlook
 * @typedef {import("./server.mjs").Way} Way
 */

/**
 * What the dialog is about: ways, and why they are wanted.
 * @typedef {{ways: Way[], cannot?: string[], segmenter?: string, missing?: string, seen?: string[]}} Subject
 */

/**
 * Show ways to better segmenters until the user closes them.
 * @param {string} title
 * @param {() => Promise<Subject>} find asked again when weights have come or gone
 */
export async function openWays(title, find) {
  const list = new Ways(find);
  const leave = onProgress(() => list.progressed());
  await Promise.all([openDialog(title, list.root), list.look()]);
  leave();
}

/** The list; rows are changed in place, so that what has the focus keeps it. */
class Ways {
  /** @param {() => Promise<Subject>} find */
  constructor(find) {
    this.find = find;
    /** @type {Row[]} */
    this.rows = [];
    this.head = element("div", { className: "sf-supply-head" });
    this.refused = element("p", { className: "sf-supply-refused sf-hidden", role: "status" });
    this.list = element("div", { className: "sf-supply-ways" });
    this.foot = element("p", { className: "sf-quiet" });
    const parts = [this.head, this.refused, this.list, this.foot];
    this.root = element("div", { className: "sf-supply", tabIndex: -1 }, parts);
  }

  async look() {
    try {
      this.show(await this.find());
    } catch (error) {
      this.head.replaceChildren(element("p", { textContent: error.message }));
    }
  }

  /** @param {Subject} subject */
  show({ ways, cannot = [], segmenter = "", missing = "", seen = [] }) {
    const parts = [];
    if (cannot.length) {
      const regions = regionNames(cannot.join(", "));
      parts.push(element("p", { textContent: text("supply.cannotLong", { regions, segmenter }) }));
      parts.push(element("h3", { textContent: text("supply.draw") }));
      parts.push(element("p", { textContent: text("supply.drawHow", { regions }) }));
      parts.push(element("h3", { textContent: text("supply.take") }));
    } else if (missing && !ways.length) {
      parts.push(element("pre", { textContent: missing }));
    }
    if (seen.length) {
      parts.push(element("h3", { textContent: text("supply.seen") }));
      parts.push(element("ul", {}, seen.map((line) => element("li", { textContent: line }))));
    }
    const at = this.rows.find(({ root }) => root.contains(document.activeElement))?.offer.name;
    this.head.replaceChildren(...parts);
    this.rows = [];
    this.list.replaceChildren(...ways.map((way) => this.way(way)));
    this.foot.textContent = ways.length ? text("supply.foot") : "";
    this.progressed();
    // without a focus in the dialog, the editor would get its keys
    if (at) (this.rows.find(({ offer }) => offer.name === at) ?? this).root.querySelector("button, a")?.focus();
  }

  /** @param {Way} way */
  way(way) {
    const tier = element("span", { className: "sf-quiet", textContent: text(`supply.tiers.${way.tier}`) });
    const head = element("div", { className: "sf-row" }, [element("h3", { textContent: nameOf(way) }), tier]);
    const parts = [head];
    if (way.lacks) parts.push(element("pre", { className: "sf-supply-lacks", textContent: way.lacks }));
    for (const offer of way.offers) {
      const row = new Row(offer, () => this.look());
      this.rows.push(row);
      parts.push(row.root);
    }
    return element("section", { className: "sf-supply-way", dataset: { segmenter: way.segmenter } }, parts);
  }

  progressed() {
    this.refused.textContent = heard.refused && text("supply.refused");
    this.refused.title = heard.refused;
    this.refused.classList.toggle("sf-hidden", !heard.refused);
    for (const row of this.rows) row.draw();
  }
}

/** One offer. */
class Row {
  /**
   * @param {Offer} offer
   * @param {() => void} changed the list is another now
   */
  constructor(offer, changed) {
    this.offer = offer;
    this.changed = changed;
    this.wasUnderWay = false;
    const { name, licence, page, gated, place, fetched } = offer;
    const link = { href: page, target: "_blank", rel: "noopener noreferrer", textContent: name };
    const facts = [text("supply.licence", { licence }), size(offer.megabytes * 1e6)];
    if (gated) facts.push(text("supply.gated"));
    this.state = element("span", { className: "sf-supply-state", role: "status" });
    this.bar = element("progress", { max: 1 });
    this.bar.setAttribute("aria-label", name);
    this.buttons = element("span", { className: "sf-row" });
    const head = element("div", { className: "sf-row" }, [
      element("a", link),
      element("span", { className: "sf-status sf-quiet", textContent: facts.join(" · ") }),
      this.buttons,
    ]);
    const where = text(fetched ? "supply.goesTo" : "supply.putInto", { place });
    const target = element("div", { className: "sf-quiet sf-supply-place", textContent: where });
    const parts = [head, target, this.bar, this.state];
    this.root = element("div", { className: "sf-supply-offer", dataset: { weights: name } }, parts);
  }

  get job() {
    return heard.fetches[this.offer.name];
  }

  draw() {
    const { offer } = this;
    const job = this.job?.state === "done" ? undefined : this.job; // what has come is in the offer, or gone again
    const begun = isUnderWay(job);
    if (this.wasUnderWay && !begun) this.changed();
    this.wasUnderWay = begun;
    const { there } = offer;
    const state = there ? "there" : (job?.state ?? (offer.kept ? "kept" : "none"));
    this.bar.classList.toggle("sf-hidden", !begun);
    if (job?.total) this.bar.value = job.done / job.total;
    else this.bar.removeAttribute("value");
    const words = there ? text("supply.there") : job ? this.words(job) : this.kept();
    if (this.state.textContent !== words) this.state.textContent = words; // what a user has selected stays so
    this.state.title = job?.error ?? "";
    this.state.classList.toggle("sf-supply-fault", state === "failed");
    const shown = `${state} ${heard.refused} ${offer.kept > 0}`;
    if (shown !== this.shown) this.drawButtons(state);
    this.shown = shown;
  }

  /** @param {import("./server.mjs").Fetch} job */
  words(job) {
    return isUnderWay(job) ? progress(job) : fault(job);
  }

  kept() {
    return this.offer.kept ? text("supply.kept", { size: size(this.offer.kept) }) : "";
  }

  /** @param {string} state */
  drawButtons(state) {
    const { name, megabytes, fetched, kept } = this.offer;
    const buttons = [];
    const add = (what, key, values = {}) => {
      const press = () => this.press(what);
      const made = button(press, { textContent: text(`supply.${key}`, values), disabled: Boolean(heard.refused) });
      made.setAttribute("aria-label", `${made.textContent} ${name}`);
      buttons.push(made);
    };
    if (["waiting", "running"].includes(state)) add("cancel", "cancel");
    else if (state !== "there" && fetched) {
      const begun = state !== "none";
      if (kept && begun) add("discard", "discard");
      add("fetch", begun ? (kept ? "goOn" : "again") : "get", { size: size(megabytes * 1e6) });
    }
    const focused = this.buttons.contains(document.activeElement);
    this.buttons.replaceChildren(...buttons);
    if (focused) (buttons.at(-1) ?? this.root.querySelector("a"))?.focus();
  }

  /** @param {"fetch" | "cancel" | "discard"} what */
  async press(what) {
    try {
      await act(what, this.offer.name);
      if (what === "discard") this.changed();
    } catch (error) {
      this.state.textContent = error.message;
    }
  }
}
