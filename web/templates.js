// The example workflows in the editor's gallery: with titles, descriptions and an order, where the editor knows but the
// names of their files; opened at a zoom at which the note can be read; in the user's language, also when they were saved.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { tablesOf, text } from "./lib/text.mjs";

/**
 * A graph as a workflow file has it, as far as it matters here.
 * @typedef {{nodes: {type: string, title?: string, widgets_values?: any[]}[], groups?: {title: string}[],
 *   extra?: {ds?: {scale: number, offset: [number, number]}}}} GraphFile
 */

const MODULE = decodeURIComponent(/\/extensions\/([^/]+)\//.exec(import.meta.url)?.[1] ?? "");
const NOTE = "MarkdownNote";
const TITLE = "Semantic Focus"; // also what a search in the gallery finds them by

/** The names of their files, in the order of the gallery. */
const NAMES = Object.keys(tablesOf("templates").en ?? {});

/**
 * A category of templates, as the editor has those of its own.
 * @param {string[]} names
 */
function categoryOf(names) {
  const templates = names.map((name) => ({
    name,
    title: text(`templates.${name}.title`),
    description: text(`templates.${name}.description`),
    mediaType: "image",
    mediaSubtype: "jpg",
    tags: ["LoRA", TITLE],
    models: [],
  }));
  return { moduleName: MODULE, title: TITLE, type: "image", templates };
}

/** Let the gallery have our category in place of a list of files. */
function describe() {
  const { getWorkflowTemplates: files, getCoreWorkflowTemplates: core } = api;
  if (!files || !core) return; // an editor that does it otherwise shows the names of the files
  /** @type {string[]} */
  let described = [];
  api.getWorkflowTemplates = async () => {
    const { [MODULE]: own = [], ...others } = await files.call(api);
    described = NAMES.filter((name) => own.includes(name));
    const rest = own.filter((name) => !NAMES.includes(name));
    return rest.length ? { ...others, [MODULE]: rest } : others;
  };
  api.getCoreWorkflowTemplates = async (...language) => {
    const found = await core.apply(api, language);
    return described.length ? [...found, categoryOf(described)] : found;
  };
}

/** @type {Map<string, string>} by what our workflows say, in any language: the key of that text */
const keys = new Map();
for (const table of Object.values(tablesOf("templates"))) {
  for (const [name, { note }] of Object.entries(table)) if (note) keys.set(note, `templates.${name}.note`);
}
for (const table of Object.values(tablesOf("templateTitles"))) {
  for (const [name, title] of Object.entries(table)) keys.set(title, `templateTitles.${name}`);
}

/** @param {string} words @returns {string} the same in the user's language, if they are ours */
function said(words) {
  const key = keys.get(words);
  return key ? text(key) : words;
}

/** @param {GraphFile} graph @returns {boolean} whether it is one of ours: others have a "Prompt" too */
const isOurs = ({ nodes = [] }) =>
  nodes.some(({ type, widgets_values: [note] = [] }) => type === NOTE && keys.has(note));

/** @param {GraphFile} graph whose words become those of the user's language, where nobody changed them */
function translate(graph) {
  if (!isOurs(graph)) return;
  for (const node of graph.nodes) {
    if (node.title) node.title = said(node.title);
    if (node.type === NOTE && node.widgets_values) node.widgets_values[0] = said(node.widgets_values[0]);
  }
  for (const group of graph.groups ?? []) group.title = said(group.title);
}

/** Show a template as its file says and not as a whole, which newer editors do. */
function keepZoom() {
  const load = app.loadGraphData;
  app.loadGraphData = /** @type {typeof load} */ (
    async function (...args) {
      const [graph, , , , options] = /** @type {any[]} */ (args);
      const view = options?.openSource === "template" && isOurs(graph) ? graph.extra?.ds : null;
      const loaded = await load.apply(app, args);
      if (view) {
        app.canvas.ds.scale = view.scale;
        app.canvas.ds.offset = [...view.offset];
        app.canvas.setDirty(true, true);
      }
      return loaded;
    }
  );
}

app.registerExtension({
  name: "SemanticFocus.Templates",
  init() {
    describe();
    keepZoom();
  },
  beforeConfigureGraph: async (graph) => translate(graph),
});
