// The tables of the reports: what a LoRA changed where, where a training would look, errors by noise level.
import { app } from "../../scripts/app.js";
import { swatch, table } from "./lib/controls.mjs";
import { change, figure, percent } from "./lib/figures.mjs";
import { onPalette } from "./lib/palette.mjs";
import { addPanel, addStylesheet, element, widgetOf } from "./lib/panel.mjs";
import { follow, presentPanels } from "./lib/present.mjs";
import { onResult } from "./lib/results.mjs";
import { onLanguage, regionName, text } from "./lib/text.mjs";

const NODES = ["SemanticFocusCompare", "SemanticFocusDryRun", "SemanticFocusLossReport"];
const MIN_HEIGHT = 190;

addStylesheet(new URL("report/report.css", import.meta.url).href);

/**
 * As nodes/report.py sends it: a row per region, a column per value.
 * @typedef {{name: string, form: keyof typeof FORMS}} Column `name` is a word of ours or a range
 * @typedef {{name: string, columns: Column[], rows: {region: string, values: (number | null)[]}[],
 *   note: {name: string, values: Record<string, number>} | null}} Table
 */

const FORMS = {
  share: percent,
  change,
  number: figure,
  weight: (/** @type {number} */ weight) => weight.toFixed(2),
  count: String,
};

/** @param {Column} column */
function heading({ name }) {
  const key = `report.columns.${name}`;
  const said = text(key);
  const hint = text(`report.hints.${name}`);
  return element("th", {
    scope: "col",
    textContent: said === key ? name : said,
    title: hint.startsWith("report.") ? "" : hint,
  });
}

/** @param {Table} table */
function draw({ name, columns, rows, note }) {
  const lines = rows.map(({ region, values }) => {
    const cells = values.map((value, index) =>
      element("td", { textContent: value === null ? "–" : FORMS[columns[index].form](value) }),
    );
    return element("tr", { dataset: { region } }, [
      element("th", { scope: "row" }, [swatch(region), regionName(region)]),
      ...cells,
    ]);
  });
  const corner = element("th", { scope: "col", textContent: text(`report.${name}`) });
  const drawn = table([corner, ...columns.map(heading)], lines);
  if (!note) return [drawn];
  const values = Object.fromEntries(Object.entries(note.values).map(([key, share]) => [key, percent(share)]));
  return [drawn, element("p", { textContent: text(`report.notes.${note.name}`, values) })];
}

/** Whether nodes are dark: every version of the editor tells their colour to the graph's drawing. */
function isDark() {
  const brush = /** @type {CanvasRenderingContext2D} */ (document.createElement("canvas").getContext("2d"));
  brush.fillStyle = /** @type {any} */ (window).LiteGraph.NODE_DEFAULT_BGCOLOR;
  brush.fillRect(0, 0, 1, 1);
  const [red, green, blue] = brush.getImageData(0, 0, 1, 1).data;
  return red + green + blue < 384;
}

class ReportPanel {
  constructor() {
    /** @type {Table | null} */
    this.table = null;
    this.sheet = element("div", { className: "sf-report-sheet", tabIndex: 0, role: "region" });
    this.root = element("div", { className: "sf-report" }, [this.sheet]);
    this.show();
  }

  /** @param {Table} table */
  take(table) {
    if (table === this.table) return;
    this.table = table;
    this.show();
  }

  show() {
    this.sheet.setAttribute("aria-label", text("report.label"));
    const empty = () => [element("p", { className: "sf-quiet", textContent: text("report.empty") })];
    this.sheet.replaceChildren(...(this.table ? draw(this.table) : empty()));
  }
}

/** @type {Map<any, ReportPanel>} */
const panels = presentPanels();

const redraw = () => panels.forEach((panel) => panel.show());

app.registerExtension({
  name: "SemanticFocus.ReportPanel",
  setup() {
    onPalette(redraw);
    onLanguage(redraw);
    onResult("semantic_focus_table", (node, [table]) => panels.get(node)?.take(table));
  },
  nodeCreated(node) {
    if (!NODES.includes(node.comfyClass)) return;
    const panel = new ReportPanel();
    const theme = widgetOf(node, "theme");
    // a graph that is opened keeps what it was saved with
    if (theme && !app.configuringGraph) theme.value = isDark() ? "dark" : "light";
    addPanel(node, "semantic_focus_report", panel.root, MIN_HEIGHT);
    follow(panels, node, panel);
  },
});
