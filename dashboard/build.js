// Builds the page into crates/golem-api/dashboard, whose bytes the program contains; with --check only says whether they are
// what the sources give.
import { build } from "esbuild";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const target = fileURLToPath(new URL("../crates/golem-api/dashboard/", import.meta.url));
const here = fileURLToPath(new URL("./", import.meta.url));
const MOST_BYTES = 200_000;

const bundled = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
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
const licences = `/*! Contains Preact (MIT, Jason Miller) and uPlot (MIT, Leon Sorokin); the page itself: MIT OR Apache-2.0 */\n`;
const files = new Map([["index.html", await readFile(`${here}src/index.html`)]]);
for (const file of bundled.outputFiles) {
  const name = file.path.split("/").pop();
  files.set(name, Buffer.from(licences + file.text));
}

let bytes = 0;
const different = [];
for (const [name, content] of files) {
  bytes += content.length;
  console.log(`${name}: ${content.length} bytes`);
  if (process.argv.includes("--check")) {
    const kept = await readFile(target + name).catch(() => Buffer.alloc(0));
    if (!kept.equals(content)) different.push(name);
  } else {
    await writeFile(target + name, content);
  }
}
console.log(`all: ${bytes} bytes, of at most ${MOST_BYTES}`);
if (different.length > 0) {
  console.error(`crates/golem-api/dashboard is not what the sources give: ${different.join(", ")}; fix: npm run build`);
  process.exit(1);
}
if (bytes > MOST_BYTES) {
  console.error("the page is too heavy");
  process.exit(1);
}
