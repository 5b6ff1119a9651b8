// Smaller parts of the weights panel: a category of the user's own, the terms, and the scale below the miniature.
import { button, entitle } from "../lib/controls.mjs";
import { element } from "../lib/panel.mjs";
import { text } from "../lib/text.mjs";
import { offerMending } from "../mend/previews.mjs";
import { heat, MOST } from "./map.mjs";
import { NumberField } from "./rows.mjs";
import { isName, TERMS } from "./values.mjs";

/** @typedef {import("../lib/previews.mjs").Preview} Preview */

const FIRST_WEIGHT = 1;

/** Name and weight of a category to add. */
export class AddForm {
  /**
   * @param {{add: (name: string, weight: number) => void, taken: (name: string) => boolean,
   *   refuse: (why: string) => void, closed: () => void}} actions
   */
  constructor(actions) {
    this.actions = actions;
    this.weight = FIRST_WEIGHT;
    this.name = element("input", { type: "text", className: "sf-field", maxLength: 40 });
    this.name.addEventListener("keydown", (event) => {
      // Enter takes the characters that an input method offers, and Escape drops them
      if (event.isComposing) return;
      if (event.key === "Enter") this.submit();
      if (event.key === "Escape") this.close();
    });
    this.number = new NumberField(
      { min: 0, max: MOST },
      { change: (value) => (this.weight = value), done: () => {}, refuse: actions.refuse },
    );
    this.accept = button(() => this.submit());
    this.root = element("div", { className: "sf-row sf-add sf-hidden" }, [this.name, this.number.root, this.accept]);
  }

  get open() {
    return !this.root.classList.contains("sf-hidden");
  }

  toggle() {
    this.root.classList.toggle("sf-hidden");
    if (this.open) this.name.focus();
  }

  close() {
    this.root.classList.add("sf-hidden");
    this.name.value = "";
    this.actions.closed();
  }

  speak() {
    this.name.placeholder = text("weights.name");
    this.name.setAttribute("aria-label", text("weights.name"));
    this.accept.textContent = text("weights.accept");
  }

  /**
   * @param {number} step
   * @param {boolean} possible
   */
  show(step, possible) {
    if (!possible) this.root.classList.add("sf-hidden");
    this.number.step = step;
    this.number.show(text("weights.weight"), this.weight, true);
  }

  submit() {
    const name = this.name.value.trim();
    if (!isName(name)) this.actions.refuse(text("weights.badName", { name }));
    else if (this.actions.taken(name)) this.actions.refuse(text("weights.takenName", { name }));
    else {
      this.root.classList.add("sf-hidden");
      this.name.value = "";
      this.actions.add(name, this.weight);
    }
  }
}

/** The factors of the objective's terms, folded away, and the inputs' sockets. */
export class Terms {
  /**
   * @param {import("./values.mjs").WeightValues} values
   * @param {{edit: (change: () => void) => void, refuse: (why: string) => void, opened: (open: boolean) => void,
   *   sockets: (shown: boolean) => void}} actions
   */
  constructor(values, actions) {
    this.values = values;
    this.title = element("summary");
    this.fields = TERMS.map(
      (input) =>
        new NumberField(values.limits(input), {
          change: (value) => actions.edit(() => values.set(input, value)),
          done: () => {},
          refuse: actions.refuse,
        }),
    );
    this.names = TERMS.map(() => element("span", { className: "sf-name" }));
    this.resets = TERMS.map((input) => {
      const reset = () => actions.edit(() => values.set(input, values.limits(input).default));
      return button(reset, { className: "sf-sign sf-reset", textContent: "↺" });
    });
    this.socketBox = element("input", { type: "checkbox" });
    this.socketBox.addEventListener("change", () => actions.sockets(this.socketBox.checked));
    this.socketWords = element("span");
    const rows = TERMS.map((input, place) =>
      element("div", { className: "sf-term", dataset: { term: input } }, [
        this.names[place],
        this.fields[place].root,
        this.resets[place],
      ]),
    );
    const sockets = element("label", { className: "sf-row sf-sockets" }, [this.socketBox, this.socketWords]);
    this.root = element("details", { className: "sf-terms" }, [this.title, ...rows, sockets]);
    this.root.addEventListener("toggle", () => actions.opened(this.root.open));
  }

  speak() {
    this.socketWords.textContent = text("weights.sockets");
  }

  /**
   * @param {boolean} open
   * @param {boolean} sockets
   */
  show(open, sockets) {
    this.root.open = open;
    this.socketBox.checked = sockets;
    const parts = TERMS.map((input, place) => {
      const value = Number(this.values.get(input) ?? NaN);
      const { default: usual } = this.values.limits(input);
      const name = text(`weights.terms.${input}`);
      const linked = this.values.linked(input);
      this.names[place].textContent = name;
      this.names[place].title = linked ? text("weights.fromLink") : this.values.tooltip(input);
      this.fields[place].show(name, value, !linked);
      this.resets[place].disabled = linked || value === usual;
      entitle(this.resets[place], text("weights.reset", { name }));
      return `${name} ${Number.isNaN(value) ? "?" : value}`;
    });
    this.title.textContent = parts.join(" · ");
    this.title.title = text("weights.termsTitle");
  }
}

/** What the miniature's colours mean, and which picture it shows. */
export class Scale {
  /**
   * @param {(step: number) => void} turn
   * @param {() => void} mend
   */
  constructor(turn, mend) {
    this.mend = button(mend, { className: "sf-sign", textContent: "✎" });
    this.back = button(() => turn(-1), { className: "sf-sign", textContent: "◀" });
    this.next = button(() => turn(1), { className: "sf-sign", textContent: "▶" });
    this.number = element("span");
    this.free = element("span");
    const stops = [0, 1, 2, 3, 4].map((at) => `rgb(${heat((at / 4) * MOST).slice(0, 3).join(" ")})`);
    const bar = element("span", { className: "sf-scale-bar" });
    bar.style.background = `linear-gradient(to right, ${stops.join()})`;
    this.root = element("div", { className: "sf-row sf-scale" }, [
      this.back,
      this.number,
      this.next,
      this.mend,
      element("span", { className: "sf-scale-free" }),
      this.free,
      element("span", { className: "sf-scale-start", textContent: "0" }),
      bar,
      String(MOST),
    ]);
    this.show(0, 0);
  }

  speak() {
    entitle(this.back, text("weights.back"));
    entitle(this.next, text("weights.next"));
    this.free.textContent = text("weights.free");
    this.mend.setAttribute("aria-label", text("mend.open"));
  }

  /**
   * @param {number} number of the picture, counted from 0
   * @param {number} count
   * @param {Preview} [preview]
   */
  show(number, count, preview) {
    offerMending(this.mend, preview);
    for (const part of [this.back, this.number, this.next]) part.classList.toggle("sf-hidden", count < 2);
    this.number.textContent = `${number + 1}/${count}`;
  }
}
