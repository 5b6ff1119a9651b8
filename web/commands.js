// What the whole pack can do, in the editor's menu, in its command list and, if the user likes, on keys.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { CACHER } from "./dataset/source.mjs";
import { everyNode, runIdAt, workflowId } from "./lib/graph.mjs";
import { isActive, reports } from "./lib/graph_walk.mjs";
import { toast } from "./lib/notify.mjs";
import { REPOSITORY } from "./lib/pack.mjs";
import { hasOwnColours, OWN, SAFE } from "./lib/palette.mjs";
import { baseName } from "./lib/paths.mjs";
import { DEFAULTS, PALETTE, preference } from "./lib/preferences.mjs";
import { interrupt, runNodes } from "./lib/prompts.mjs";
import { text } from "./lib/text.mjs";
import { openWays } from "./supply/dialog.mjs";
import { allWays } from "./supply/server.mjs";
import { isRunning } from "./training/words.mjs";

const MENU = "Semantic Focus";

/** @param {any} node */
const caches = (node) => node.type === CACHER;

/**
 * Run these nodes, and what they need; say why not when there is none.
 * @param {(node: any) => boolean} wanted
 * @param {string} missing key of the text
 */
async function run(wanted, missing) {
  const ids = [...everyNode()].filter((place) => isActive(place) && wanted(place.node)).map(runIdAt);
  if (!ids.length) {
    toast("info", text("commands.nothingToDo"), text(missing));
    return;
  }
  await runNodes(ids);
}

/** Whether a training is of the workflow that is shown. @param {any} training */
const isShown = ({ workflow }) => workflow === workflowId();

async function stopTraining() {
  const answer = await api.fetchApi("/semantic_focus/training?points=0");
  const { trainings = [] } = answer.ok ? await answer.json() : {};
  const running = trainings
    .filter(isRunning)
    .sort((one, other) => Number(isShown(other)) - Number(isShown(one)))[0];
  if (!running) {
    toast("info", text("commands.nothingToDo"), text("commands.noTraining"));
    return;
  }
  await interrupt(running.prompt);
  toast("info", text("commands.stopping", { name: baseName(running.folder) }), text("commands.stoppingDetail"));
}

/** @type {string | null} what the user had before, as long as the page lasts */
let formerPalette = null;

/** What the user seems to have had before the page was loaded: own colours were chosen for a reason. */
const likelyPalette = () => (hasOwnColours() ? OWN : DEFAULTS[PALETTE]);

async function toggleSafeColours() {
  const present = preference(PALETTE);
  const safe = present !== SAFE;
  if (safe) formerPalette = present;
  await app.extensionManager.setting.set(PALETTE, safe ? SAFE : (formerPalette ?? likelyPalette()));
  toast("success", text(safe ? "commands.safeColours" : "commands.formerColours"));
}

/** The settings dialog, turned to the pack's page where the editor has one that we know. */
async function openSettings() {
  await app.extensionManager.command.execute("Comfy.ShowSettingsDialog");
  const names = [MENU, text("commands.category")];
  const entry = () => {
    const entries = document.querySelectorAll("[role=dialog] :is([role=option], nav button, [role=button], button)");
    return [...entries].find((found) => names.includes(found.textContent?.trim() ?? ""));
  };
  for (let frames = 60; frames > 0; frames--) {
    const found = /** @type {HTMLElement | undefined} */ (entry());
    if (found) {
      found.click();
      return;
    }
    await new Promise(requestAnimationFrame);
  }
}

const COMMANDS = [
  {
    id: "SemanticFocus.PreviewSegmentation",
    label: "Preview segmentation",
    icon: "pi pi-images",
    function: () => run(reports, "commands.noSegmentation"),
  },
  {
    id: "SemanticFocus.GenerateMasks",
    label: "Generate masks of the dataset",
    icon: "pi pi-clone",
    function: () => run(caches, "commands.noDataset"),
  },
  {
    id: "SemanticFocus.Weights",
    label: "Segmenters and weights",
    icon: "pi pi-download",
    // not awaited: the editor would wait until the dialog is closed
    function: () => void openWays(text("supply.title"), async () => ({ ways: await allWays() })),
  },
  {
    id: "SemanticFocus.StopTraining",
    label: "Stop training and save",
    icon: "pi pi-stop-circle",
    function: stopTraining,
  },
  {
    id: "SemanticFocus.ColourBlindSafe",
    label: "Colour-blind-safe region colours",
    icon: "pi pi-palette",
    function: toggleSafeColours,
  },
  {
    id: "SemanticFocus.Settings",
    label: "Semantic Focus settings",
    icon: "pi pi-cog",
    function: openSettings,
  },
  {
    id: "SemanticFocus.Documentation",
    label: "Semantic Focus documentation",
    icon: "pi pi-book",
    function: () => void window.open(`${REPOSITORY}#readme`, "_blank", "noopener"),
  },
];

app.registerExtension({
  name: "SemanticFocus.Commands",
  commands: COMMANDS,
  menuCommands: [{ path: [MENU], commands: COMMANDS.map(({ id }) => id) }],
});
