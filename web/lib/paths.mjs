// Paths of the server's, whatever system it runs on.

/**
 * The last part of a path.
 * @param {string | null | undefined} path
 */
export function baseName(path) {
  return path?.split(/[\\/]/).pop() ?? "";
}
