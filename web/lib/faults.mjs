// What the server says of files and values, in the user's language. It says it in English, in logs and errors of runs
// too, where nothing but the sentence comes along. The English texts of the section "faults" in locales/en/main.json are
// those sentences with {places} for their values: a sentence tells by itself which one it is, and what is in it.
import { english, text } from "./text.mjs";

const PLACE = /\{(\w+)\}/;
const SECTION = "faults";

/** @typedef {{key: string, pattern: RegExp, names: string[], length: number}} Fault */

/** @type {Fault[]} those that say most first: the others may match their parts */
const FAULTS = Object.entries(english(SECTION))
  .map(([key, template]) => {
    const parts = template.split(PLACE);
    const words = parts.filter((_, index) => index % 2 === 0);
    const quoted = words.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const names = parts.filter((_, index) => index % 2);
    return { key, pattern: new RegExp(`^${quoted.join("(.+?)")}$`, "s"), names, length: words.join("").length };
  })
  .sort((one, other) => other.length - one.length);

/**
 * A known sentence in the user's language, or null.
 * @param {string} sentence
 * @returns {string | null}
 */
function known(sentence) {
  for (const { key, pattern, names } of FAULTS) {
    const found = pattern.exec(sentence);
    if (!found) continue;
    const values = names.map((name, index) => [name, faultInWords(found[index + 1])]);
    return text(`${SECTION}.${key}`, Object.fromEntries(values));
  }
  return null;
}

/**
 * Sentences of the server, a line each, in the user's language; as they are where nobody translated them. Before a
 * sentence may be what it is about: `/pictures/one.png: cannot be read …`.
 * @param {string} said
 * @returns {string}
 */
export function faultInWords(said) {
  const lines = said.split("\n").map((line) => {
    const whole = known(line);
    if (whole !== null) return whole;
    for (let at = line.indexOf(": "); at > 0; at = line.indexOf(": ", at + 1)) {
      const rest = known(line.slice(at + 2));
      if (rest !== null) return `${line.slice(0, at)}: ${rest}`;
    }
    return line;
  });
  return lines.join("\n");
}
