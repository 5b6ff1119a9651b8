// What users may set for all widgets, in the editor's settings dialog.
import { app } from "../../scripts/app.js";
import { CATEGORIES, hex, PALETTES } from "./lib/palette.mjs";
import { COLOUR, DEFAULTS, OPACITY, PALETTE, SLIDER_STEP } from "./lib/preferences.mjs";

const GROUP = "Semantic Focus";

app.registerExtension({
  name: "SemanticFocus.Settings",
  // the editor shows them last to first
  settings: [
    {
      id: SLIDER_STEP,
      name: "Step of the weight sliders",
      tooltip: "How far an arrow key or a small movement goes. Typed numbers may lie between.",
      type: "number",
      defaultValue: DEFAULTS[SLIDER_STEP],
      attrs: { min: 0.01, max: 0.5, step: 0.01, minFractionDigits: 2, maxFractionDigits: 2 },
      category: [GROUP, "Weight sliders", "Step"],
    },
    {
      id: OPACITY,
      name: "Opacity of the regions over a picture",
      tooltip: "Where a node has not been given one of its own.",
      type: "slider",
      defaultValue: DEFAULTS[OPACITY],
      attrs: { min: 0, max: 1, step: 0.05 },
      category: [GROUP, "Region colours", "Opacity"],
    },
    ...Object.entries(CATEGORIES)
      .reverse()
      .map(([name, { colour }]) => ({
        id: `${COLOUR}.${name}`,
        name: `Own colour: ${name}`,
        type: "color",
        defaultValue: hex(colour),
        category: [GROUP, "Region colours", `Colour ${name}`],
      })),
    {
      id: PALETTE,
      name: "Colours of the regions",
      tooltip: "The colour-blind-safe ones are told apart with any kind of colour vision. Own: the colours below.",
      type: "combo",
      options: PALETTES,
      defaultValue: DEFAULTS[PALETTE],
      category: [GROUP, "Region colours", "Palette"],
    },
  ],
});
