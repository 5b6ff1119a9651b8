// Ending a prompt as the editor's Cancel does, in every version of it.
import { api } from "../../../scripts/api.js";

/**
 * @param {string | null} prompt id; null ends whatever runs
 * @throws {Error} the server did not take it
 */
export async function interrupt(prompt) {
  const answer = await api.fetchApi("/interrupt", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(prompt ? { prompt_id: prompt } : {}),
  });
  if (!answer.ok) throw new Error(`/interrupt: HTTP ${answer.status}`);
}
