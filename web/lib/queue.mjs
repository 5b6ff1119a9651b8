// The server's queue, as it is now.
import { api } from "../../../scripts/api.js";

/**
 * What the server runs or will run.
 * @returns {Promise<[number, string, object, {client_id?: string}, string[]][]>} number, prompt id, nodes, who wants it
 *   and the nodes it is for
 * @throws {Error} the server is away
 */
export async function queued() {
  const { queue_running, queue_pending } = await (await api.fetchApi("/queue")).json();
  return [...queue_running, ...queue_pending];
}
