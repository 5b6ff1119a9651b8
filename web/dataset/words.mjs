// A dataset's pictures in words: their status, what stands out, how many of what there are.
import { faultInWords } from "../lib/faults.mjs";
import { countsInWords } from "../lib/mask_counts.mjs";
import { regionName, regionNames, text } from "../lib/text.mjs";

/**
 * @typedef {import("./source.mjs").Picture} Picture
 * @typedef {import("./source.mjs").Captions} Captions
 */

/** A glyph for each status, so that nothing is told by colour alone. */
export const GLYPHS = {
  ok: "✓",
  stale: "↻",
  missing: "○",
  "by hand": "✎",
  failed: "✕",
  unchecked: "…",
};

export const FILTERS = ["all", "problems", "missing", "stale", "ok", "by hand", "failed"];

// the library says these in English, in logs and reports too; places are the values in the sentence
const SENTENCES = /** @type {[RegExp, string, string[]][]} */ ([
  [/^it has no mask file$/, "noMaskFile", []],
  [/stale: the keywords changed/, "staleKeywords", []],
  [/stale: its refinement is (.+), now (.+)$/, "staleRefine", ["found", "wanted"]],
  [/stale: its segmenter is (.+), now (.+)$/, "staleSegmenter", ["found", "wanted"]],
  [/stale: its overlaps are (.+), now (.+)$/, "staleOverlaps", ["found", "wanted"]],
  [/stale: the picture was edited since/, "staleEdited", []],
  [/stale: it was made by an older version/, "staleVersion", []],
  [/stale: its format version is (.+), now (.+)$/, "staleFormat", ["found", "wanted"]],
  [/: it was made by hand or by another program/, "byHand", []],
  [/in it is made by hand, for a picture of (.+?): (.+); and the picture is (.+) now/, "byHandSize", ["there", "regions", "now"]],
  [/\. Give the path of a mask file \(/, "notOurs", []],
  [/^its mask file is damaged: (.+)$/, "damaged", ["error"]],
  [/^(.+)\. Run the segmentation again to make it anew/, "damaged", ["error"]],
  [/^look at this: (.+) or (.+)\?$/, "doubt", ["region", "other"]],
  [/^look at this: is all (.+) here\?$/, "doubtExtent", ["region"]],
  [/^no person found$/, "noPerson", []],
  [/^no face found$/, "noFace", []],
  [/^(\d+) persons$/, "persons", ["count"]],
  [/^much (.+): (\d+%), usually (\d+%)$/, "much", ["region", "share", "usual"]],
  [/^little (.+): (\d+%), usually (\d+%)$/, "little", ["region", "share", "usual"]],
  [/^(.+): cannot be read as a picture \((.*)\)/, "unreadable", ["file", "error"]],
  [/^(.+): not UTF-8 text/, "captionEncoding", ["file"]],
  [/^(.+): longer than \d+ bytes, which is no caption/, "captionTooLong", ["file"]],
  [/^(.+): it is there, but the user that runs this program may not read it/, "noPermission", ["file"]],
  [/^its caption file is empty/, "emptyCaption", []],
  [/^\d+ pictures? ha(?:s|ve) an empty caption file, and no words then: (.+)$/, "emptyCaptions", ["names"]],
  [/take for emphasis: (.+)\. Switch literal_brackets on/, "brackets", ["names"]],
  [/^it has several frames/, "firstFrame", []],
  [/^of several frames, the first is used: (.+)$/, "firstFrames", ["names"]],
  [/^(.+): (.+) reads no words and cannot find that/, "cannotFind", ["regions", "segmenter"]],
  [/^(.+): in no picture, so a weight on it trains nothing/, "inNoPicture", ["regions"]],
  [/: no picture in it\. .* What is there: (.+)$/, "onlyOthers", ["seen"]],
  [/^(.+) \(a kind of picture that is not read/, "leftNotRead", ["names"]],
  [/^(.+) \(a link to nothing\)$/, "leftLink", ["names"]],
  [/^(.+) \(the user that runs this program may not read it\)$/, "leftNotAllowed", ["names"]],
  [/^(.+) \(no file that can be read\)$/, "leftNoFile", ["names"]],
  [/^(.+) \(a folder with pictures of its own/, "leftFolder", ["names"]],
  [/^(.+) \(a folder that was not looked into\)$/, "leftUnseen", ["names"]],
  [/^(.+) \(a mask picture of another trainer\)$/, "leftMask", ["names"]],
  [/^(.+) \(two captions of one picture: the latter is used\)$/, "leftCaption", ["names"]],
  [/^(.+) \(a caption without a picture of its name\)$/, "leftLonely", ["names"]],
  [/^(.+) \(no picture\)$/, "leftOther", ["names"]],
  [/: no such file\./, "gone", []],
  [/: no such folder\./, "noSuchFolder", []],
  [/: a file, not a folder\. .*: (.+)$/, "aFile", ["folder"]],
  [/^(.+): no such home folder\./, "noHome", ["folder"]],
  [/: no picture in it\./, "noPicture", []],
  [/^.+: (.+) and (.+) would share one caption/, "shared", ["one", "other"]],
  [/^no folder given/, "noFolder", []],
  [/^(.*): this ComfyUI does not read that place/, "notAllowed", ["folder"]],
  [/^(.*): a network or device path that is not allowed/, "network", ["folder"]],
  [/^(.*): (.*) in it is a link that leads out/, "strayLink", ["folder", "link"]],
  [/^(.*): it is not known whether this may be read: (.+)$/, "rulesFault", ["folder", "error"]],
  [/^(.*): cannot be opened \((.*)\)/, "closed", ["folder", "error"]],
  [/^(.*): too long: a path/, "tooLong", ["folder"]],
  [/^only the first (\d+) files and folders/, "mostEntries", ["count"]],
  [/^not all was looked at, it took more than (.+) seconds/, "mostSeconds", ["count"]],
  [/^folders that cannot be opened: (.+)$/, "someClosed", ["folders"]],
  [/^(\d+) more folders may not be read/, "moreRefused", ["count"]],
]);

// before what a run says of a folder, of which the list of the folder says the same
const LEFT_OUT = "left out: ";

/**
 * Sentences of the library, a line each, in the user's language; as they are when nobody translated them.
 * @param {string} sentences
 */
export function say(sentences) {
  return sentences.split("\n").map(sayOne).join("\n");
}

/** @param {string} sentence */
function sayOne(sentence) {
  for (const [pattern, key, names] of SENTENCES) {
    const found = pattern.exec(sentence);
    if (!found) continue;
    const values = Object.fromEntries(names.map((name, index) => [name, found[index + 1]]));
    if (values.reason) values.reason = say(values.reason);
    if (values.region) values.region = regionName(values.region);
    if (values.other) values.other = regionName(values.other);
    if (values.error) values.error = faultInWords(values.error);
    if (values.seen) values.seen = values.seen.split("; ").map(sayOne).join("\n");
    if (values.regions) values.regions = regionNames(values.regions);
    if (key === "leftCaption") values.names = values.names.replaceAll(" beside ", text("dataset.beside"));
    for (const list of ["names", "folders"]) if (values[list]) values[list] = shortened(values[list]);
    return text(`dataset.says.${key}`, values);
  }
  return faultInWords(sentence);
}

/** @param {string} names of which the library has left some out, as the user reads them */
function shortened(names) {
  return names.replace(/ and (\d+) more$/, (_, count) => ` ${text("dataset.andMore", { count })}`);
}

/**
 * How a run that makes masks ended.
 * @param {import("./runs.mjs").Result} result
 * @returns {string[]} sentences
 */
export function resultInWords(result) {
  if ("error" in result) return say(result.error).split("\n");
  const { counts, segmenter, to_look_at: count, failures, report } = result;
  const made = text("dataset.madeBy", { counts: countsInWords(counts), segmenter });
  const others = (counts.failed ?? 0) - failures.length;
  return [
    made,
    ...(count ? [text(`dataset.${report ? "seeReport" : "toLookAt"}`, { count })] : []),
    ...failures.map(say),
    ...(others > 0 ? [text("dataset.andOthers", { count: others })] : []),
  ];
}

/**
 * What there is to say of a folder as a whole, a line each.
 * @param {string[]} remarks of runs
 * @param {string[]} leftOut of its list
 */
export function folderInWords(remarks, leftOut) {
  const others = new Set(remarks.filter((remark) => !remark.startsWith(LEFT_OUT)));
  return [...others, ...leftOut].map(say).join("\n");
}

/** @param {string} status */
export function statusName(status) {
  return text(`dataset.status.${status.replace(" ", "_")}`);
}

/**
 * What there is to look at in a picture.
 * @param {Picture} picture
 * @param {Captions} captions
 * @returns {string[]}
 */
export function problemsOf(picture, captions) {
  const problems = picture.problems.map(say);
  if (captions.needed && !picture.captioned) problems.push(text("dataset.noCaption"));
  return problems;
}

/**
 * @param {Picture} picture
 * @param {string} filter one of FILTERS
 * @param {Captions} captions
 */
export function passes(picture, filter, captions) {
  if (filter === "all") return true;
  if (filter !== "problems") return picture.status === filter;
  const { status, problems, captioned } = picture;
  return status === "failed" || problems.length > 0 || (captions.needed && !captioned);
}

/**
 * Which regions a person made, of masks that a segmenter made.
 * @param {Picture} picture
 * @returns {string[]} a sentence, or none
 */
export function byHandOf({ by_hand: regions = [] }) {
  return regions.length ? [text("dataset.byHandRegions", { regions: regionNames(regions.join(", ")) })] : [];
}

/**
 * What else is said of a picture: an empty caption file is nothing to know of where a trigger word fills it.
 * @param {Picture} picture
 * @param {Captions} captions
 * @returns {string[]}
 */
export function notesOf({ notes }, { trigger }) {
  const said = notes.map(say);
  return trigger ? said.filter((note) => note !== text("dataset.says.emptyCaption")) : said;
}

/**
 * @param {Picture} picture
 * @param {Captions} captions
 * @returns {string} all there is to say, a line each
 */
export function describe(picture, captions) {
  const reason = picture.reason ? `: ${say(picture.reason)}` : "";
  const lines = [picture.name, `${statusName(picture.status)}${reason}`, ...byHandOf(picture)];
  return [...lines, ...problemsOf(picture, captions), ...notesOf(picture, captions)].join("\n");
}

/**
 * How many pictures there are of each status.
 * @param {Picture[]} pictures
 * @param {Captions} captions
 */
export function summary(pictures, captions) {
  const count = (filter) => pictures.filter((picture) => passes(picture, filter, captions)).length;
  const parts = Object.keys(GLYPHS)
    .map((status) => ({ status: status.replace(" ", "_"), count: count(status) }))
    .filter((one) => one.count)
    .map((one) => text(`dataset.counted.${one.status}`, { count: one.count }));
  const all = text(pictures.length === 1 ? "dataset.picture" : "dataset.pictures", { count: pictures.length });
  const problems = count("problems");
  const look = problems ? [text("dataset.toLookAt", { count: problems })] : [];
  return [all, ...parts, ...look].join(" · ");
}
