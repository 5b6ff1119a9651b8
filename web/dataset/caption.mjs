// The caption of the picture that is looked at, to be changed; and a trigger word before all captions of a folder. It is
// written when the user leaves it. Where another program wrote meanwhile, the user says whose words stay.
import { addTrigger, readCaption, saveCaption, trainedWords } from "./source.mjs";
import { say } from "./words.mjs";
import { button } from "../lib/controls.mjs";
import { element } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";

/**
 * @typedef {import("./source.mjs").Picture} Picture
 * @typedef {import("./source.mjs").Caption} Caption
 */

const MOST_NAMED = 5;

export class CaptionEditor {
  /**
   * @param {string} folder
   * @param {import("./source.mjs").Captions} captions what the node makes of them
   * @param {() => Promise<Picture[]>} all the pictures of the folder, looked at anew
   */
  constructor(folder, captions, all) {
    this.folder = folder;
    this.captions = captions;
    this.all = all;
    this.wrote = false;
    /** @type {Picture | null} */
    this.picture = null;
    /** @type {Caption} as the server has it */
    this.kept = { caption: "", stamp: "" };
    this.field = element("textarea", { className: "sf-field", rows: 5, spellcheck: false });
    this.field.addEventListener("change", () => this.save());
    this.field.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "s" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.save();
    });
    this.status = element("p", { className: "sf-quiet", role: "status" });
    this.mine = button(() => this.save(this.theirs?.stamp), { textContent: text("captions.mine") });
    this.other = button(() => this.take(this.theirs ?? this.kept), { textContent: text("captions.theirs") });
    this.choice = element("div", { className: "sf-wrap sf-hidden" }, [this.mine, this.other]);
    const heading = element("h4", { textContent: text("dataset.caption") });
    const label = element("label", {}, [heading, this.field]);
    this.trained = element("p", { className: "sf-quiet" });
    const parts = [label, this.trained, this.status, this.choice];
    if (!captions.trigger) parts.push(this.trigger()); // the node puts its own before each of them
    this.root = element("div", { className: "sf-caption" }, parts);
  }

  /** The row that puts a word before all captions. */
  trigger() {
    this.word = element("input", { className: "sf-field", spellcheck: false });
    this.word.addEventListener("input", () => (this.add.disabled = !this.word.value.trim()));
    this.add = button(() => this.addToAll(), { textContent: text("captions.add"), title: text("captions.addTip") });
    this.add.disabled = true;
    const label = element("label", {}, [text("captions.trigger"), this.word]);
    return element("div", { className: "sf-row sf-caption-trigger" }, [label, this.add]);
  }

  /** @param {Picture} picture that is shown from now on */
  async show(picture) {
    this.picture = picture;
    this.reading?.abort();
    this.reading = new AbortController();
    const { signal } = this.reading;
    this.field.disabled = true;
    this.field.value = "";
    this.tell("");
    try {
      this.take(await readCaption(this.folder, picture.name, signal));
      this.field.disabled = false;
    } catch (error) {
      if (!signal.aborted) this.tell(say(error.message));
    }
  }

  /** @param {Caption} found takes the place of what is in the field */
  take(found) {
    this.field.value = found.caption;
    this.know(found);
  }

  /** @param {Caption} found is what the server has now; the field stays */
  know(found) {
    this.kept = found;
    this.theirs = null;
    const words = trainedWords(found.caption, Boolean(found.stamp), this.captions);
    const empty = words ? "captions.emptyFile" : "dataset.says.emptyCaption";
    const none = found.stamp ? empty : this.captions.needed ? "captions.needed" : "dataset.noOwnCaption";
    this.field.placeholder = text(none);
    this.trained.textContent = words === found.caption ? "" : text("captions.trained", { words });
    this.tell("");
  }

  /** @param {string} words @param {boolean} [unsure] the user has to say whose words stay */
  tell(words, unsure = false) {
    this.status.textContent = words;
    this.choice.classList.toggle("sf-hidden", !unsure);
  }

  /**
   * Write what was changed, one after the other.
   * @param {string} [stamp] of what it takes the place of; without it what the server has by then
   * @returns {Promise<boolean>} whether nothing is left to be written
   */
  async save(stamp) {
    const words = this.field.value.trim();
    const { picture } = this;
    if (!picture || this.field.disabled) return true;
    this.saving = (this.saving ?? Promise.resolve(true)).then(() => this.write(picture, words, stamp));
    return this.saving;
  }

  /**
   * @param {Picture} picture
   * @param {string} words
   * @param {string} [stamp]
   */
  async write(picture, words, stamp) {
    if (words === this.kept.caption) return true;
    try {
      const found = await saveCaption(this.folder, picture.name, words, stamp ?? this.kept.stamp);
      if (found.conflict) {
        this.theirs = found;
        this.tell(text("captions.conflict", { words: found.caption || "–" }), true);
        return false;
      }
      this.wrote = true;
      if (this.field.value.trim() === words) {
        this.take(found);
        this.tell(text("captions.saved"));
      } else this.know(found); // the user typed on meanwhile
      return true;
    } catch (error) {
      this.theirs = null;
      this.tell(text("captions.notSaved", { error: say(error.message) }), true);
      return false;
    }
  }

  /** Put the word before each caption that does not have it. */
  async addToAll() {
    if (this.busy || !(await this.save())) return;
    const word = this.word.value.trim();
    this.busy = true; // and not disabled: the editor takes Escape where nothing has the focus
    /** @type {string[]} */
    const failed = [];
    let [changed, done] = [0, 0];
    const pictures = (await this.all()).filter(({ status }) => status !== "failed");
    for (const { name } of pictures) {
      this.tell(text("captions.adding", { done: done++, all: pictures.length }));
      try {
        changed += Number((await addTrigger(this.folder, name, word)).changed);
      } catch {
        failed.push(name);
      }
    }
    this.wrote ||= changed > 0;
    if (this.picture) await this.show(this.picture);
    this.busy = false;
    const names = failed.slice(0, MOST_NAMED).join(", ");
    const rest = failed.length ? ` ${text("captions.failed", { names, count: failed.length })}` : "";
    this.tell(text("captions.added", { count: changed, word }) + rest);
  }
}
