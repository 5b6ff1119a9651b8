// Tables that keep the latest only.

/**
 * Put an entry at the end of a table, and drop the first when there are too many.
 * @template Key, Value
 * @param {Map<Key, Value>} table
 * @param {Key} key
 * @param {Value} value
 * @param {number} most
 */
export function putLast(table, key, value, most) {
  table.delete(key);
  table.set(key, value);
  if (table.size > most) table.delete(/** @type {Key} */ (table.keys().next().value));
}
