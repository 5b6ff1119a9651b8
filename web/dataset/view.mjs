// One picture of a dataset, large: regions over it, status, coverage, its caption; the others by buttons or arrow keys.
import { CaptionEditor } from "./caption.mjs";
import { discard } from "./grid.mjs";
import { pictureUrl, regionsUrl } from "./source.mjs";
import { button, entitle, swatch } from "../lib/controls.mjs";
import { flagged, rings } from "../lib/doubts.mjs";
import { percent } from "../lib/figures.mjs";
import { mend } from "../mend/view.mjs";
import { byHandOf, GLYPHS, notesOf, problemsOf, say, statusName } from "./words.mjs";
import { openDialog } from "../lib/dialog.mjs";
import { element } from "../lib/panel.mjs";
import { OPACITY, preference } from "../lib/preferences.mjs";
import { regionName, text } from "../lib/text.mjs";

/** @typedef {import("./source.mjs").Picture} Picture */

/**
 * The badge of a status.
 * @param {string} status
 * @returns {HTMLElement}
 */
export function badge(status) {
  const glyph = { textContent: GLYPHS[status] ?? "?", aria: { hidden: "true" } };
  return element("span", { className: "sf-dataset-badge", dataset: { status }, ...glyph });
}

/**
 * A picture and, when asked for, its regions over it; nothing that cannot be loaded is shown.
 * @param {string} folder
 * @param {Picture} picture
 * @param {{side: 192 | 1024, regions: boolean, alt: string, broken?: (url: string) => void, lost?: () => void}} how
 * `broken` is told of a picture that cannot be loaded, `lost` of regions
 * @returns {HTMLElement}
 */
export function layers(folder, picture, { side, regions, alt, broken, lost }) {
  if (picture.status === "failed") {
    const words = statusName(picture.status);
    return element("div", { className: "sf-dataset-layers sf-dataset-unreadable", dataset: { words } });
  }
  const url = pictureUrl(folder, picture, side);
  const base = element("img", { alt, decoding: "async", draggable: false });
  base.addEventListener("error", () => {
    base.classList.add("sf-hidden");
    broken?.(url);
  });
  base.src = url;
  const stack = element("div", { className: "sf-dataset-layers" }, [base]);
  const over = regions && regionsUrl(folder, picture, side);
  if (over) {
    const layer = element("img", { alt: "", decoding: "async", draggable: false, className: "sf-dataset-regions" });
    layer.style.opacity = String(preference(OPACITY));
    layer.addEventListener("error", () => {
      layer.remove();
      lost?.();
    });
    layer.src = over;
    stack.append(layer);
  }
  return stack;
}

/**
 * Mark the places that are in doubt, once it is known how large the picture is: it is fitted into its frame.
 * @param {HTMLElement} stack of `layers`
 * @param {Picture} picture
 */
function ring(stack, { doubts }) {
  const base = stack.querySelector("img");
  if (!base || !flagged(doubts).length) return;
  const frame = element("div", { className: "sf-dataset-frame" }, rings(doubts));
  base.addEventListener("load", () => {
    frame.style.setProperty("--ratio", String(base.naturalWidth / base.naturalHeight));
    stack.append(frame);
  });
}

class View {
  /**
   * @param {string} folder
   * @param {Picture[]} pictures
   * @param {number} at
   * @param {import("./source.mjs").Captions} captions
   * @param {() => Promise<Picture[]>} again has the folder looked at
   */
  constructor(folder, pictures, at, captions, again) {
    this.folder = folder;
    this.again = again;
    this.pictures = pictures;
    this.captions = captions;
    this.at = at;
    this.figure = element("div", { className: "sf-dataset-figure" });
    this.facts = element("div", { className: "sf-dataset-facts", tabIndex: 0, role: "region", ariaLive: "polite" });
    this.facts.setAttribute("aria-label", text("dataset.facts"));
    this.place = element("span", { className: "sf-status sf-quiet" });
    this.back = this.step("◀", "dataset.previous", -1);
    this.next = this.step("▶", "dataset.next", 1);
    this.regions = element("input", { type: "checkbox", checked: true });
    this.regions.addEventListener("change", () => this.draw());
    const toggle = element("label", { className: "sf-row" }, [this.regions, text("dataset.regions")]);
    this.mending = button(() => this.mend(), { title: text("mend.openTip") }, [`✎ ${text("mend.open")}`]);
    const bar = element("div", { className: "sf-row" }, [this.back, this.next, this.place, toggle, this.mending]);
    this.caption = new CaptionEditor(folder, captions, again);
    const side = element("div", { className: "sf-dataset-side" }, [this.facts, this.caption.root]);
    const main = element("div", { className: "sf-dataset-main" }, [this.figure, side]);
    this.root = element("div", { className: "sf-dataset-view" }, [bar, main]);
    this.show();
  }

  /**
   * @param {string} glyph
   * @param {string} key
   * @param {number} by
   */
  step(glyph, key, by) {
    const made = button(() => this.go(by), { textContent: glyph });
    entitle(made, text(key));
    return made;
  }

  /** @param {number} by */
  async go(by) {
    if (!(await this.caption.save())) return;
    this.at = (this.at + by + this.pictures.length) % this.pictures.length;
    this.show();
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (/** @type {HTMLElement} */ (event.target).matches("textarea, input:not([type=checkbox])")) return;
    if (event.key.toLowerCase() === "m" && !event.ctrlKey && !event.metaKey && !event.altKey) this.mend();
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    this.go(by);
  }

  /** Correct the masks by hand, of this picture and then of others. */
  async mend() {
    if (!(await this.caption.save())) return;
    const able = this.pictures.filter(({ status }) => status !== "failed");
    const at = able.indexOf(this.pictures[this.at]);
    if (at < 0) return;
    const items = able.map(({ name, doubts }) => ({ place: { folder: this.folder, name }, name, doubts }));
    const ended = await mend(items, at);
    if (ended.wrote) {
      const found = new Map((await this.again()).map((picture) => [picture.name, picture]));
      this.pictures = this.pictures.map((picture) => found.get(picture.name) ?? picture);
    }
    this.at = this.pictures.findIndex(({ name }) => name === items[ended.at].name);
    this.show();
  }

  draw() {
    const picture = this.pictures[this.at];
    const how = { side: /** @type {1024} */ (1024), regions: this.regions.checked, alt: picture.name };
    [...this.figure.children].forEach(discard);
    const stack = layers(this.folder, picture, how);
    this.figure.append(stack);
    ring(stack, picture);
  }

  show() {
    const picture = this.pictures[this.at];
    this.place.textContent = `${this.at + 1}/${this.pictures.length}`;
    this.mending.disabled = picture.status === "failed";
    this.draw();
    const reason = picture.reason ? [element("p", { textContent: say(picture.reason), title: picture.reason })] : [];
    const persons = picture.persons === null ? "" : ` · ${text("dataset.persons", { count: picture.persons })}`;
    this.facts.replaceChildren(
      element("h3", { textContent: picture.name }),
      element("p", { className: "sf-row" }, [badge(picture.status), `${statusName(picture.status)}${persons}`]),
      ...byHandOf(picture).map((textContent) => element("p", { textContent })),
      ...reason,
      ...this.problems(picture),
      ...notesOf(picture, this.captions).map((textContent) => element("p", { className: "sf-quiet", textContent })),
      ...this.coverage(picture),
    );
    this.caption.show(picture);
  }

  /**
   * @param {Picture} picture
   * @returns {HTMLElement[]}
   */
  problems(picture) {
    const lines = problemsOf(picture, this.captions);
    if (!lines.length) return [];
    const items = lines.map((line) => element("li", { textContent: line }));
    return [element("ul", { className: "sf-dataset-problems" }, items)];
  }

  /**
   * @param {Picture} picture
   * @returns {HTMLElement[]}
   */
  coverage({ coverage }) {
    const rows = Object.entries(coverage).map(([region, share]) => {
      const name = element("th", { scope: "row" }, [swatch(region), ` ${regionName(region)}`]);
      return element("tr", {}, [name, element("td", { textContent: percent(share) })]);
    });
    if (!rows.length) return [];
    return [
      element("h4", { textContent: text("dataset.coverage") }),
      element("table", { className: "sf-dataset-coverage" }, rows),
    ];
  }
}

/**
 * Look at a picture until the user closes it.
 * @param {string} folder
 * @param {Picture[]} pictures to go through
 * @param {number} at index of the first
 * @param {import("./source.mjs").Captions} captions
 * @param {() => Promise<Picture[]>} again has the folder looked at
 * @returns {Promise<string>} name of the last that was looked at
 */
export async function view(folder, pictures, at, captions, again) {
  const shown = new View(folder, pictures, at, captions, again);
  const closed = openDialog(text("dataset.title"), shown.root, () => shown.caption.save());
  shown.root.closest("dialog")?.addEventListener("keydown", (event) => shown.press(event));
  shown.next.focus();
  await closed;
  if (shown.caption.wrote) await again();
  return shown.pictures[shown.at].name;
}
