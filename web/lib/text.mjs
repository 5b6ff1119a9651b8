// The panels' words in the user's language, from locales/<language>/main.json.
// Read from the server, because the editor's own table loses the Chinese texts of packs (1.32).
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { onPreference } from "./preferences.mjs";

const SECTION = "semanticFocus";
const SPOKEN_WHERE_NOTHING_ELSE_IS = "en";

/** @returns {Promise<Record<string, any>>} by language */
async function load() {
  try {
    const answer = await api.fetchApi("/i18n");
    return answer.ok ? await answer.json() : {};
  } catch {
    return {}; // keys are shown, and everything works
  }
}

/** What the server has for each language, of this pack and of others. */
export const languages = await load();

/** @returns {string} language of the editor, such as "zh" */
export function language() {
  return app.extensionManager?.setting.get("Comfy.Locale") ?? SPOKEN_WHERE_NOTHING_ELSE_IS;
}

/**
 * @param {string} spoken
 * @param {string} key
 * @returns {string | undefined}
 */
function find(spoken, key) {
  const found = key.split(".").reduce((table, part) => table?.[part], languages[spoken]?.[SECTION]);
  return typeof found === "string" ? found : undefined;
}

/**
 * The English texts of a section of main.json, by key.
 * @param {string} section
 * @returns {Record<string, string>}
 */
export function english(section) {
  return languages[SPOKEN_WHERE_NOTHING_ELSE_IS]?.[SECTION]?.[section] ?? {};
}

/**
 * A section of main.json in every language that there is.
 * @param {string} section
 * @returns {Record<string, Record<string, any>>} by language
 */
export function tablesOf(section) {
  const all = Object.entries(languages).map(([spoken, table]) => [spoken, table[SECTION]?.[section]]);
  return Object.fromEntries(all.filter(([, table]) => table));
}

/**
 * What an input of a node is called in the user's language.
 * @param {string} node type
 * @param {string} input
 * @returns {string}
 */
export function socketName(node, input) {
  return languages[language()]?.nodeDefs?.[node]?.inputs?.[input]?.name ?? input;
}

/**
 * A text with its {places} filled in; the key itself when nobody wrote one.
 * @param {string} key dots between the levels of main.json's section "semanticFocus"
 * @param {Record<string, string | number>} [values]
 */
export function text(key, values = {}) {
  const spoken = language();
  // zh-TW reads zh before it reads English
  const template =
    find(spoken, key) ?? find(spoken.split("-")[0], key) ?? find(SPOKEN_WHERE_NOTHING_ELSE_IS, key) ?? key;
  return template.replace(/\{(\w+)\}/g, (place, name) => String(values[name] ?? place));
}

/**
 * The name of a region as the user reads it; names of the user's own stay as they are.
 * @param {string} region
 */
export function regionName(region) {
  const key = `regions.${region}`;
  const name = text(key);
  return name === key ? region : name;
}

/**
 * Names of regions as the library lists them, as the user reads them.
 * @param {string} regions with ", " between them
 */
export function regionNames(regions) {
  return regions.split(", ").map(regionName).join(text("notices.listComma"));
}

/**
 * What an input of a node is for, from locales/<language>/nodeDefs.json.
 * @param {string} nodeType
 * @param {string} input
 * @param {string} english as the schema has it
 */
export function tooltipOf(nodeType, input, english) {
  const spoken = language();
  const table = languages[spoken] ?? languages[spoken.split("-")[0]];
  return table?.nodeDefs?.[nodeType]?.inputs?.[input]?.tooltip ?? english;
}

/**
 * Call back when the user has chosen another language.
 * @param {() => void} callback
 */
export function onLanguage(callback) {
  onPreference(["Comfy.Locale"], callback);
}
