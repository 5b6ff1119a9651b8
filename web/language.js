// Node titles, labels and settings in the user's language, where the editor loses them: 1.32 puts its own table of a
// language over the packs' when it loads that language, which it does after it has read theirs.
import { app } from "../../scripts/app.js";
import { chain } from "./lib/panel.mjs";
import { languages } from "./lib/text.mjs";

/** By section of a language's table, the keys that are this pack's. */
const OWN = {
  semanticFocus: /./,
  nodeDefs: /^SemanticFocus/,
  settings: /^SemanticFocus_/,
  commands: /^SemanticFocus_/,
  settingsCategories: /^(Semantic Focus|Region colours|Weight sliders)$/,
  menuLabels: /^(Semantic Focus|Preview segmentation|Generate masks of|Segmenters and weights|Stop training and|Colour-blind-safe)/,
};

/**
 * The part of a language's table that this pack brought.
 * @param {Record<string, Record<string, any>>} table
 */
function ownPart(table) {
  const sections = Object.entries(OWN).map(([section, keys]) => {
    const own = Object.entries(table[section] ?? {}).filter(([key]) => keys.test(key));
    return [section, Object.fromEntries(own)];
  });
  return Object.fromEntries(sections);
}

/** The editor's translator; undefined where it is kept elsewhere. */
function translator() {
  const editor = /** @type {any} */ (document.querySelector("#vue-app"))?.__vue_app__;
  return editor?._context.provides[editor.__VUE_I18N_SYMBOL__]?.global;
}

app.registerExtension({
  name: "SemanticFocus.Language",
  init() {
    const composer = translator();
    if (!composer) return;
    const add = (language) => {
      if (languages[language]) composer.mergeLocaleMessage(language, ownPart(languages[language]));
    };
    for (const language of composer.availableLocales) add(language);
    chain(composer, "setLocaleMessage", add);
  },
});
