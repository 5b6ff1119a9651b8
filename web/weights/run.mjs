// A run that "Preview segmentation" asks for, until it is over in whatever way: one that is taken out of the queue has
// no end that is told.
import { api } from "../../../scripts/api.js";
import { app } from "../../../scripts/app.js";
import { queued } from "../lib/queue.mjs";

/** @type {Set<{prompt: string, over: () => void}>} */
const waiting = new Set();

/**
 * Run what one node needs.
 * @param {string} id that a run calls it by
 * @returns {Promise<void>} fulfilled when the run has ended, was refused, or was taken out of the queue
 */
export async function runNode(id) {
  await app.queuePrompt(0, 1, [id]);
  // the editor does not tell which prompt it made; the newest has the highest number
  const mine = (await queued().catch(() => []))
    .filter(([, , , { client_id }, targets]) => client_id === api.clientId && targets.join() === id)
    .sort(([one], [other]) => other - one);
  if (!mine.length) return;
  const [[, prompt]] = mine;
  const end = new Promise((over) => waiting.add({ prompt, over: () => over(undefined) }));
  confirm(); // it may have ended since
  await end;
}

async function confirm() {
  if (!waiting.size) return;
  /** @type {Set<string>} */
  let present;
  const asked = [...waiting];
  try {
    present = new Set((await queued()).map(([, prompt]) => prompt));
  } catch {
    return; // the server is away
  }
  for (const run of asked.filter(({ prompt }) => !present.has(prompt))) {
    waiting.delete(run);
    run.over();
  }
}

for (const event of ["status", "reconnected"]) api.addEventListener(event, confirm);
