// Compiles the contracts: `node compile.js` writes artifacts/, `--check` fails unless they are current.
import { readFileSync, readdirSync, writeFileSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const read = (path) => readFileSync(join(here, path), "utf8");
const sources = ["src", "src/test"].flatMap((folder) =>
  readdirSync(join(here, folder)).filter((name) => name.endsWith(".sol")).map((name) => `${folder}/${name}`),
);

const input = {
  language: "Solidity",
  sources: Object.fromEntries(sources.map((path) => [path, { content: read(path) }])),
  settings: {
    // Old enough for every chain that the node may meet: no opcode after Paris.
    evmVersion: "paris",
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
  },
};
const output = JSON.parse(
  solc.compile(JSON.stringify(input), { import: (path) => ({ contents: read(join("node_modules", path)) }) }),
);
const problems = (output.errors ?? []).filter((problem) => !problem.formattedMessage.includes("node_modules"));
if (problems.length > 0) {
  console.error(problems.map((problem) => problem.formattedMessage).join("\n"));
  process.exit(1);
}

const checking = process.argv.includes("--check");
let stale = 0;
for (const path of sources) {
  const name = path.split("/").at(-1).replace(".sol", "");
  const { abi, evm } = output.contracts[path][name];
  const artifact = {
    contractName: name,
    compiler: solc.version(),
    abi,
    bytecode: `0x${evm.bytecode.object}`,
    deployedBytecode: `0x${evm.deployedBytecode.object}`,
  };
  const text = `${JSON.stringify(artifact, null, 1)}\n`;
  const file = join(here, "artifacts", `${name}.json`);
  if (!checking) {
    writeFileSync(file, text);
  } else if (!existsSync(file) || readFileSync(file, "utf8") !== text) {
    console.error(`artifacts/${name}.json is not what ${path} compiles to; run: npm run build`);
    stale += 1;
  }
}
process.exit(stale > 0 ? 1 : 0);
