// What the user set in the editor's settings dialog (web/settings.js declares it).
import { app } from "../../../scripts/app.js";

export const PALETTE = "SemanticFocus.Palette";
export const OPACITY = "SemanticFocus.Opacity";
export const SLIDER_STEP = "SemanticFocus.SliderStep";
export const COLOUR = "SemanticFocus.Colour";

export const DEFAULTS = { [PALETTE]: "standard", [OPACITY]: 0.6, [SLIDER_STEP]: 0.05 };

/**
 * @param {string} id
 * @returns {any}
 */
export function preference(id) {
  return app.extensionManager?.setting.get(id) ?? DEFAULTS[id];
}

/**
 * Call back when a setting has changed.
 * @param {string[]} ids
 * @param {() => void} callback
 */
export function onPreference(ids, callback) {
  // the editor says so before it has taken the new value over
  for (const id of ids) app.ui.settings.addEventListener(`${id}.change`, () => setTimeout(callback));
}
