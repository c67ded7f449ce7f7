// A real EVM for the tests: anvil, started here, on a port of its own, gone when the tests end.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createTestClient, http, publicActions, walletActions } from "viem";
import { mnemonicToAccount } from "viem/accounts";
import { foundry } from "viem/chains";

const here = dirname(fileURLToPath(import.meta.url));
const MNEMONIC = "test test test test test test test test test test test junk";
const DEADLINE_MS = 20_000;

export const NATIVE = "0x0000000000000000000000000000000000000000";
export const accounts = [0, 1, 2, 3].map((addressIndex) => mnemonicToAccount(MNEMONIC, { addressIndex }));

export const artifact = (name) => JSON.parse(readFileSync(join(here, `../artifacts/${name}.json`), "utf8"));

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

function anvilBinary() {
  const arch = { x64: "amd64", arm64: "arm64" }[process.arch];
  const name = `@foundry-rs/anvil-${process.platform}-${arch}`;
  const manifest = createRequire(import.meta.url).resolve(`${name}/package.json`);
  return join(dirname(manifest), "bin/anvil");
}

// Starts a chain; `stop` ends it. Time stands still but for `warp`.
export async function startChain() {
  const port = await freePort();
  const child = spawn(anvilBinary(), ["--port", String(port), "--mnemonic", MNEMONIC], { stdio: ["ignore", "pipe", "pipe"] });
  const listening = new Promise((resolve, reject) => {
    let said = "";
    const timer = setTimeout(() => reject(new Error(`anvil did not listen in time: ${said}`)), DEADLINE_MS);
    const hear = (bytes) => {
      said += bytes;
      if (said.includes("Listening on")) {
        clearTimeout(timer);
        resolve();
      }
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("exit", () => reject(new Error(`anvil ended: ${said}`)));
  });
  await listening;
  const client = createTestClient({ chain: foundry, mode: "anvil", transport: http(`http://127.0.0.1:${port}`) })
    .extend(publicActions)
    .extend(walletActions);
  const chain = {
    client,
    stop: () => child.kill(),
    // The receipt of a call that must succeed.
    async send(contract, functionName, args, { from = accounts[0], value = 0n } = {}) {
      const { request } = await client.simulateContract({ ...contract, functionName, args, account: from, value });
      return client.waitForTransactionReceipt({ hash: await client.writeContract(request) });
    },
    read: (contract, functionName, args = []) => client.readContract({ ...contract, functionName, args }),
    async deploy(name, args = []) {
      const { abi, bytecode } = artifact(name);
      const hash = await client.deployContract({ abi, bytecode, args, account: accounts[0] });
      const { contractAddress } = await client.waitForTransactionReceipt({ hash });
      return { address: contractAddress, abi };
    },
    async now() {
      return (await client.getBlock()).timestamp;
    },
    async warp(seconds) {
      await client.increaseTime({ seconds });
      await client.mine({ blocks: 1 });
    },
  };
  return chain;
}
