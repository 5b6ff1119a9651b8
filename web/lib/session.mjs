// What is to last through a reload of the page; every tab has its own.

/**
 * @template Value
 * @param {string} key
 * @param {Value} otherwise
 * @returns {Value} what was stored last
 */
export function restore(key, otherwise) {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "null") ?? otherwise;
  } catch {
    return otherwise;
  }
}

/**
 * @param {string} key
 * @param {any} value
 */
export function store(key, value) {
  try {
    sessionStorage.setItem(key, JSON.stringify(value));
  } catch {
    // a browser that stores nothing forgets it at a reload
  }
}
