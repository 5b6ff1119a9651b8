// Draws every part of a person twice, its free colour black and white, as one sheet of pictures.
//
//     node draw_parts.mjs PACKAGES SHEET.png CELL COLUMNS '{"hair": ["long", ...], ...}'
//
// PACKAGES is a node_modules with @dicebear/personas and @resvg/resvg-js. The order on the sheet is that of the table.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [packages, sheet, cell, columns, table] = process.argv.slice(2);
const design = join(resolve(packages), "@dicebear/personas/lib");
const { Resvg } = createRequire(join(resolve(packages), "x.js"))("@resvg/resvg-js");

// group of parts: the file that has them, and where they lie in the whole drawing
const GROUPS = {
  eyes: ["eyes", 20, 24],
  hair: ["hair", 2, 2],
  body: ["body", 11, 44],
  mouth: ["mouth", 23, 36],
  nose: ["nose", 24, 28],
  facialHair: ["facialHair", 14, 26],
};
const VIEW = "6 7 52 52"; // the square around head and shoulders

/** The head is no part of its own in the package: it is what its drawing begins with. */
function head(skin) {
  const outline = readFileSync(join(design, "index.js"), "utf8").match(/body: `<path d="([^"]+)"/)[1];
  return `<path d="${outline}" fill="${skin}"/>`;
}

async function drawing(group, name, colour) {
  if (group === "head") return head(colour);
  const [file, x, y] = GROUPS[group];
  const parts = (await import(pathToFileURL(join(design, "components", `${file}.js`))))[file];
  const inner = parts[name]({}, { skin: colour, hair: colour, clothing: colour });
  // a blend mode would make the result depend on what lies below, and not on the colour alone
  return `<g transform="translate(${x} ${y})">${inner.replace(/mix-blend-mode:\w+/g, "")}</g>`;
}

const cells = [];
for (const [group, names] of Object.entries(JSON.parse(table)))
  for (const name of names)
    for (const colour of ["#000000", "#ffffff"]) cells.push(await drawing(group, name, colour));

const width = columns * cell;
const height = Math.ceil(cells.length / columns) * cell;
const placed = cells.map((inner, i) => {
  const [x, y] = [(i % columns) * cell, Math.floor(i / columns) * cell];
  return `<svg x="${x}" y="${y}" width="${cell}" height="${cell}" viewBox="${VIEW}" fill="none">${inner}</svg>`;
});
const whole = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${placed.join("")}</svg>`;
writeFileSync(sheet, new Resvg(whole).render().asPng());
