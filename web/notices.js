// Says how trainings and mask runs of this tab ended. Errors are the editor's own to show; of a training that failed
// it is said what was kept.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { countsInWords } from "./lib/mask_counts.mjs";
import { toast } from "./lib/notify.mjs";
import { baseName } from "./lib/paths.mjs";
import { isOwn, onRefusals } from "./lib/prompts.mjs";
import { onResult } from "./lib/results.mjs";
import { text } from "./lib/text.mjs";

/** @param {any} report as nodes/training_status.py sends it */
function trained(report) {
  if (!isOwn(report.prompt)) return;
  const { state, kept, step, loss } = report;
  const values = { name: baseName(report.folder), step: kept?.step ?? step };
  if (state === "finished") {
    const said = { ...values, loss: loss?.toPrecision(3) ?? "–" };
    if (report.worse) toast("warn", text("notices.worse"), text("notices.worseDetail", said));
    else toast("success", text("notices.finished"), text("notices.finishedDetail", said));
  } else if (state === "stopped" && !kept) {
    toast("info", text("notices.stoppedAtOnce"), text("notices.nothingKept"));
  } else if ((state === "stopped" || state === "failed") && kept) {
    const severity = state === "stopped" && kept.state ? "info" : "warn";
    const key = kept.state ? (kept.again ? "notices.keptAgain" : "notices.keptState") : "notices.notKept";
    toast(severity, text(`notices.${state}`, values), text(key, values));
  }
}

/**
 * @param {any} node
 * @param {Record<string, number>} counts of pictures by what became of them
 */
function masked(node, counts) {
  if (!counts.segmented && !counts.failed) return; // all was there before
  const severity = counts.failed ? "warn" : "success";
  toast(severity, text("notices.masksDone", { node: node.title }), countsInWords(counts));
}

/** @param {import("./lib/prompts.mjs").Refusal[]} errors of nodes, a text of ours once for each text of its node */
function refused(errors) {
  const own = /^[a-z_]+ - (.+)$/s;
  const said = errors.map(({ message, details }) => own.exec(details)?.[1] ?? `${message}: ${details}`);
  toast("error", text("notices.refused"), [...new Set(said)].join("\n"));
}

app.registerExtension({
  name: "SemanticFocus.Notices",
  setup() {
    onRefusals(refused);
    api.addEventListener("semantic_focus.training", ({ detail }) => trained(detail));
    onResult("semantic_focus_masks", (node, [{ counts }], fresh) => fresh && masked(node, counts));
  },
});
