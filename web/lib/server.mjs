// How ComfyUI's server is asked.
import { api } from "../../../scripts/api.js";

/**
 * @param {string} route
 * @param {any} body
 * @param {AbortSignal} [signal]
 * @returns {Promise<Response>}
 */
export function post(route, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return api.fetchApi(route, { method: "POST", signal, headers, body: JSON.stringify(body) });
}
