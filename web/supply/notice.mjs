// What there is to know of a node's choice of segmenter and words before it runs, in a line above its panel.
import { openWays } from "./dialog.mjs";
import { allWays, heard, isUnderWay, onProgress, outlookOf } from "./server.mjs";
import { progress } from "./words.mjs";
import { LOADER, sourceOf } from "../dataset/source.mjs";
import { button } from "../lib/controls.mjs";
import { placesOf } from "../lib/graph.mjs";
import { valueOf } from "../lib/graph_walk.mjs";
import { element } from "../lib/panel.mjs";
import { regionNames, text } from "../lib/text.mjs";

/** @typedef {import("./server.mjs").Outlook} Outlook */

const PATIENCE = 400; // ms without a change, before the server is asked

export class Notice {
  /** @param {any} node */
  constructor(node) {
    this.node = node;
    /** @type {Outlook | null} */
    this.outlook = null;
    this.turn = 0;
    this.words = element("span", { className: "sf-supply-words" });
    this.ways = button(() => this.open(), { className: "sf-button sf-supply-open" });
    const parts = [this.words, this.ways];
    this.root = element("div", { className: "sf-supply-notice sf-hidden", role: "status" }, parts);
  }

  /** The node is in the workflow: its panel is there to be written above. */
  attach() {
    const panel = this.node.widgets?.find((widget) => widget.element?.classList?.contains("sf-panel"));
    panel?.element.prepend(this.root);
    this.leave ??= onProgress(() => this.draw());
    this.schedule();
  }

  detach() {
    clearTimeout(this.timer);
    this.turn++;
    this.leave?.();
    this.leave = undefined;
  }

  schedule() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), PATIENCE);
  }

  /** @returns {{backend?: string, keywords?: string} | null} null when only a run can tell, or nothing segments */
  question() {
    const [place] = placesOf(this.node);
    if (!place) return null;
    const known = this.node.type === LOADER ? sourceOf(this.node)?.settings : null;
    if (this.node.type === LOADER && known?.backend === undefined) return null;
    const value = (name) => (known ? known[name] : valueOf(place, name));
    const [backend, keywords] = [value("backend"), value("keywords")];
    return typeof backend === "string" && typeof keywords === "string" ? { backend, keywords } : null;
  }

  async look() {
    const turn = ++this.turn;
    const question = this.question();
    this.backend = question?.backend ?? "";
    const outlook = question && (await outlookOf(question).catch(() => null)); // half written, or no server
    if (turn !== this.turn) return;
    this.outlook = outlook;
    this.draw();
  }

  draw() {
    const { outlook } = this;
    const words = outlook ? this.sentence(outlook) : "";
    if (this.words.textContent !== words) this.words.textContent = words;
    this.words.title = outlook?.missing || outlook?.sentence || "";
    this.ways.textContent = text(outlook?.cannot.length ? "supply.ways" : "supply.weights");
    this.root.classList.toggle("sf-hidden", !words);
  }

  /** @param {Outlook} outlook */
  sentence({ segmenter, cannot, missing, ways }) {
    const names = ways.flatMap(({ offers }) => offers.map(({ name }) => name));
    const coming = names.map((name) => heard.fetches[name]).find(isUnderWay);
    if (coming) return text("supply.coming", { name: coming.name, progress: progress(coming) });
    if (cannot.length) return text("supply.cannot", { regions: regionNames(cannot.join(", ")), segmenter });
    if (!missing) return "";
    return text(ways.length ? "supply.missing" : "supply.cannotRun", { segmenter: this.backend ?? "" });
  }

  async open() {
    await this.look(); // what was chosen just now may not have been asked for yet
    const { outlook } = this;
    if (!outlook) return;
    // what was wanting stays in view when it has come
    const key = ({ segmenter, offers }) => JSON.stringify([segmenter, offers.map(({ name }) => name)]);
    const wanted = outlook.ways.map(key);
    const find = async () => {
      const present = new Map((await allWays()).map((way) => [key(way), way]));
      return { ...outlook, ways: wanted.flatMap((name) => present.get(name) ?? []) };
    };
    openWays(text(outlook.cannot.length ? "supply.waysTitle" : "supply.title"), find);
  }
}
