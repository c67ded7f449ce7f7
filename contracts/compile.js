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

// The contract of version 1 with the original's spelling: its names, types and orders of the events, and a `terminate` that
// leaves `withdrawn` as it was. For tests of whoever reads events.
const respelt = [
  ["contract StreamPayment is", "contract StreamPaymentRespelt is"],
  ["event Withdrawn(", "event Withdraw("],
  ["emit Withdrawn(", "emit Withdraw("],
  ["event Terminated(uint256 indexed streamId, uint256 paid, uint256 refunded)",
   "event Terminated(uint256 indexed streamId, uint256 senderRefund, uint256 providerPayout)"],
  ["emit Terminated(streamId, paid, refunded)", "emit Terminated(streamId, refunded, paid)"],
  ["event ToppedUp(uint256 indexed streamId, uint256 amount, uint256 deposit, uint256 stopTime)",
   "event ToppedUp(uint256 indexed streamId, uint256 amount, uint128 newStopTime)"],
  ["emit ToppedUp(streamId, amount, stream.deposit, stream.stopTime)", "emit ToppedUp(streamId, amount, stream.stopTime)"],
  ["event Halted(uint256 indexed streamId, uint256 stopTime)", "event Halted(uint256 indexed streamId)"],
  ["emit Halted(streamId, stream.stopTime)", "emit Halted(streamId)"],
  ["        stream.withdrawn = vested;\n", ""],
];
const contents = Object.fromEntries(sources.map((path) => [path, read(path)]));
contents["src/test/StreamPaymentRespelt.sol"] = respelt.reduce((text, [from, to]) => {
  if (text.split(from).length !== 2) throw new Error(`not once in StreamPayment.sol: ${from}`);
  return text.replace(from, to);
}, contents["src/StreamPayment.sol"]);

const input = {
  language: "Solidity",
  sources: Object.fromEntries(Object.entries(contents).map(([path, content]) => [path, { content }])),
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
for (const path of Object.keys(contents)) {
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
