// Builds the pages into crates/golem-api/dashboard and crates/golem-api/console, whose bytes the program contains; with --check only
// says whether they are what the sources give.
import { build } from "esbuild";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL("./", import.meta.url));
const PAGES = [
  {
    name: "dashboard",
    entry: "src/main.tsx",
    index: "src/index.html",
    most: 200_000,
    licences: "Contains Preact (MIT, Jason Miller) and uPlot (MIT, Leon Sorokin)",
  },
  {
    name: "console",
    entry: "src/console/main.ts",
    index: "src/console/index.html",
    most: 400_000,
    licences:
      "Contains xterm.js (MIT, The xterm.js authors, SourceLair Private Company, Christopher Jeffrey)",
  },
];

const different = [];
let isTooHeavy = false;
for (const { name: page, entry, index, most, licences } of PAGES) {
  const target = fileURLToPath(new URL(`../crates/golem-api/${page}/`, import.meta.url));
  const bundled = await build({
    absWorkingDir: here,
    entryPoints: { app: entry },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: ["chrome111", "firefox115", "safari16.4"],
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    charset: "utf8",
    outdir: "out",
  });
  const files = new Map([["index.html", await readFile(here + index)]]);
  for (const file of bundled.outputFiles) {
    const name = file.path.split("/").pop();
    files.set(name, Buffer.from(`/*! ${licences}; the page itself: MIT OR Apache-2.0 */\n${file.text}`));
  }
  let bytes = 0;
  for (const [name, content] of files) {
    bytes += content.length;
    console.log(`${page}/${name}: ${content.length} bytes`);
    if (process.argv.includes("--check")) {
      const kept = await readFile(target + name).catch(() => Buffer.alloc(0));
      if (!kept.equals(content)) different.push(`${page}/${name}`);
    } else {
      await writeFile(target + name, content);
    }
  }
  console.log(`all of ${page}: ${bytes} bytes, of at most ${most}`);
  isTooHeavy ||= bytes > most;
}
if (different.length > 0) {
  console.error(`crates/golem-api has not what the sources give: ${different.join(", ")}; fix: npm run build`);
  process.exit(1);
}
if (isTooHeavy) {
  console.error("a page is too heavy");
  process.exit(1);
}
