// A renter of today as a browser is one: ethers, fetch, a WebSocket and the published ABI, and nothing of the node's own
// code. It walks from finding a provider to the rest of its deposit, and prints a line of JSON for each step it took:
// { step, remark }. It ends with 1 at the first that fails.
//
// Its only argument is a file with JSON: discovery (a WebSocket URL), rpc, key, abi (a file), ssh_key (the path of a
// private key), image, donation_bps, seconds.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { Contract, JsonRpcProvider, NonceManager, Wallet, randomBytes, verifyTypedData } from "ethers";
import WebSocket from "ws";

const settings = JSON.parse(readFileSync(process.argv[2], "utf8"));
// What a browser would say of the page that it shows.
const ORIGIN = "https://renter.example";
const DEADLINE_MS = 500_000;
const PAUSE_MS = 500;
const NAME = "web-01";
const SIZE = { cpu: 1, memory: 1, storage: 10 };
// As much gas as the published page allows.
const GAS = { gasLimit: 450_000 };
const TOKEN = [
  "function balanceOf(address) view returns (uint256)",
  "function allowance(address, address) view returns (uint256)",
  "function approve(address, uint256) returns (bool)",
];

const chain = new JsonRpcProvider(settings.rpc, undefined, { cacheTimeout: -1, pollingInterval: 200 });
const wallet = new Wallet(settings.key, chain);
const signer = new NonceManager(wallet);

function check(truth, what) {
  if (!truth) throw new Error(what);
}

async function step(name, walk) {
  let remark;
  try {
    remark = await walk();
  } catch (error) {
    console.log(JSON.stringify({ step: name, failed: error.message }));
    process.exit(1);
  }
  console.log(JSON.stringify({ step: name, remark: remark ?? "" }));
}

// Numbers that a double cannot hold become text before they are parsed.
const parse = (text) => JSON.parse(text.replace(/:\s*(\d{15,})(?=\s*[,}])/g, ':"$1"'));

async function ask(url, method, path, { token, body, status = 200 } = {}) {
  const headers = { origin: ORIGIN };
  if (body) headers["content-type"] = "application/json";
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(`${url}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  check(answer.status === status, `${method} ${path}: ${answer.status} ${text}`);
  const allowed = answer.headers.get("access-control-allow-origin");
  check(allowed === "*" || allowed === ORIGIN, `${path}: a page of another origin may not read it`);
  return text ? parse(text) : null;
}

// A socket with what it hears: `hears(is)` waits for the first message that is so, also among those before.
function socket(url) {
  const heard = [];
  const waiting = new Set();
  const opened = new WebSocket(url, { origin: ORIGIN });
  const ended = new Promise((resolve) => opened.on("close", (code, reason) => resolve({ code, reason: `${reason}` })));
  const ready = new Promise((resolve, reject) => opened.on("open", resolve).on("error", reject));
  opened.on("message", (data) => {
    const message = parse(`${data}`);
    heard.push(message);
    for (const look of waiting) look(message);
  });
  const hears = (what, is, from = 0) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(look);
        reject(new Error(`not heard: ${what}; last ${JSON.stringify(heard.at(-1))}`));
      }, DEADLINE_MS);
      const look = (message) => {
        if (!is(message)) return;
        clearTimeout(timer);
        waiting.delete(look);
        resolve(message);
      };
      waiting.add(look);
      heard.slice(from).forEach(look);
    });
  const say = async (message) => (await ready, opened.send(JSON.stringify(message)));
  return { ready, ended, heard, hears, say, close: () => opened.close() };
}

let provider;
await step("the provider is found by WebSocket, with an https endpoint", async () => {
  const market = socket(settings.discovery);
  await market.ready;
  await market.say({ type: "subscribe", filters: {} });
  const usable = (advert) => advert?.endpoint_url?.startsWith("https://");
  const { advertisements } = await market.hears("a snapshot", ({ type }) => type === "snapshot");
  provider = advertisements.find(usable);
  provider ??= (await market.hears("an upsert", ({ advertisement }) => usable(advertisement))).advertisement;
  market.close();
  check(provider.resources.cpu >= 1 && provider.pricing.glm_per_core_month > 0, JSON.stringify(provider));
  return `${provider.resources.cpu} cores, ${provider.pricing.glm_per_core_month} GLM a core and month`;
});
const url = provider.endpoint_url;

let image;
await step("GET /provider/info and /images, by a page of another origin", async () => {
  const info = await ask(url, "GET", "/provider/info");
  check(info.provider_id === provider.provider_id, "another provider answers");
  const images = await ask(url, "GET", "/images");
  image = settings.image;
  check(JSON.stringify(images).includes(image), JSON.stringify(images));
  const preflight = await fetch(`${url}/api/v1/vms`, {
    method: "OPTIONS",
    headers: {
      origin: ORIGIN, "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type",
    },
  });
  check(preflight.ok, `the preflight is answered with ${preflight.status}`);
  check(/authorization/i.test(preflight.headers.get("access-control-allow-headers")), "authorization is not allowed");
  return `image ${image}; CORS allows authorization`;
});

let quote;
await step("POST /payments/lease-quotes", async () => {
  const body = {
    vm_name: NAME, image, ...SIZE, duration_seconds: settings.seconds, requestor_address: wallet.address,
  };
  quote = await ask(url, "POST", "/payments/lease-quotes", { body });
  const [rate, deposit] = [BigInt(quote.provider_rate_per_second_wei), BigInt(quote.provider_deposit_wei)];
  check(deposit === rate * BigInt(settings.seconds), "the deposit is not rate times seconds");
  check(Number(quote.min_runway_seconds) === settings.seconds, "the runway is not what was asked for");
  return `${rate} wei a second`;
});
const deposit = BigInt(quote.provider_deposit_wei);
const rate = BigInt(quote.provider_rate_per_second_wei);
const token = new Contract(quote.glm_token_address, TOKEN, signer);
const payment = new Contract(quote.contract_address, JSON.parse(readFileSync(settings.abi, "utf8")), signer);
const mined = async (transaction) => (await transaction).wait();
const had = await token.balanceOf(wallet.address);
const donation = (deposit * BigInt(settings.donation_bps)) / 10_000n;

await step("balanceOf, allowance, approve(deposit + donation)", async () => {
  check(had >= deposit + donation, `${had} is less than ${deposit + donation}`);
  if ((await token.allowance(wallet.address, quote.contract_address)) < deposit + donation)
    await mined(token.approve(quote.contract_address, deposit + donation));
});

const opening = [
  quote.provider_address, deposit, rate, settings.donation_bps, quote.lease_id, quote.terms_hash,
  quote.quote_expires_at, quote.signature,
];
await step("the signature recovers the provider's address", async () => {
  const domain = {
    name: "GolemStreamPayment", version: "4", chainId: Number(quote.chain_id), verifyingContract: quote.contract_address,
  };
  const types = {
    LeaseQuote: [
      ["address", "recipient"], ["uint256", "providerDeposit"], ["uint128", "providerRatePerSecond"],
      ["bytes32", "leaseId"], ["bytes32", "termsHash"], ["uint128", "quoteExpiresAt"],
    ].map(([type, name]) => ({ type, name })),
  };
  const message = {
    recipient: quote.provider_address, providerDeposit: deposit, providerRatePerSecond: rate, leaseId: quote.lease_id,
    termsHash: quote.terms_hash, quoteExpiresAt: quote.quote_expires_at,
  };
  const signed = verifyTypedData(domain, types, message, quote.signature);
  check(signed === quote.provider_address, `signed by ${signed}`);
});

let stream;
await step("createStream, after a static call", async () => {
  await payment.createStream.staticCall(...opening);
  const receipt = await mined(payment.createStream(...opening, GAS));
  const event = receipt.logs.map((log) => payment.interface.parseLog(log)).find((log) => log?.name === "StreamCreated");
  stream = event.args.streamId;
  check((await token.balanceOf(wallet.address)) === had - deposit - donation, "another sum was paid");
  return `stream ${stream}, its id from the event`;
});

let session;
await step("POST /auth/requestor-sessions", async () => {
  const claim = {
    provider: quote.provider_address, requestor: wallet.address, scope: "provider",
    nonce: Buffer.from(randomBytes(16)).toString("hex"), deadline: Math.floor(Date.now() / 1000) + 86_400,
  };
  const types = {
    ProviderSession: [
      ["address", "provider"], ["address", "requestor"], ["string", "scope"], ["string", "nonce"],
      ["uint256", "deadline"],
    ].map(([type, name]) => ({ type, name })),
  };
  const signature = await wallet.signTypedData({ name: "GolemProviderSession", version: "1" }, types, claim);
  const body = {
    requestor_address: claim.requestor, scope: claim.scope, nonce: claim.nonce, deadline: claim.deadline, signature,
  };
  const told = await ask(url, "POST", "/auth/requestor-sessions", { body });
  check(told.token_type === "bearer" && told.scope === "provider", JSON.stringify(told));
  await ask(url, "POST", "/auth/requestor-sessions", { body, status: 401 });
  session = told.access_token;
  return "a bearer token; the same signature gives no second one";
});

const create = {
  name: NAME, ssh_key: readFileSync(`${settings.ssh_key}.pub`, "utf8").trim(), resources: SIZE, image,
  payment: {
    stream_id: Number(stream), lease_id: quote.lease_id, terms_hash: quote.terms_hash,
    // As the web page sends it.
    provider_rate_per_second_wei: `${rate}`, duration_seconds: settings.seconds,
  },
};
let job;
await step("POST /vms?async=true", async () => {
  await ask(url, "POST", "/vms?async=true", { body: create, status: 401 });
  job = await ask(url, "POST", "/vms?async=true", { token: session, body: create, status: 202 });
  for (const field of ["job_id", "vm_id", "status", "lifecycle_stage", "progress", "transitioning", "next_poll_seconds"])
    check(field in job, `${field} is not in ${JSON.stringify(job)}`);
  const again = await ask(url, "POST", "/vms?async=true", { token: session, body: create, status: 202 });
  check(again.job_id === job.job_id && again.vm_id === job.vm_id, "asked again, it makes another");
  return "202; asked again, the same job; without a token 401";
});

// What a message tells of `scope`: a snapshot has every scope, an update the one that it names.
const part = ({ type, scope, data }, wanted) => (type === "update" && scope === wanted ? data : data?.[wanted]);
let live;
let access;
await step("the live socket, until the VM is there", async () => {
  const query = `job_id=${job.job_id}&history_range=1h`;
  live = socket(`${url.replace("https", "wss")}/api/v1/vms/${NAME}/live?${query}`);
  await live.ready;
  await live.say({ type: "auth", token: session });
  const hello = await live.hears("hello", ({ type }) => type === "hello");
  check(JSON.stringify(hello).includes("vm-live.v1"), JSON.stringify(hello));
  const first = await live.hears("a snapshot", ({ type }) => type === "snapshot");
  for (const key of [
    "provider_info", "lifecycle", "access", "job", "snapshots", "stream", "metrics_live", "metrics_history", "errors",
  ])
    check(key in first.data, `${key} is not in ${JSON.stringify(first)}`);
  access = part(await live.hears("access", (message) => part(message, "access")?.ssh_port), "access");
  return `${live.heard.length} messages; ${access.ssh_user}@${access.ssh_host}`;
});

await step("ssh", async () => {
  const given = [
    "-i", settings.ssh_key, "-p", `${access.ssh_port}`, "-o", "StrictHostKeyChecking=no",
    "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
    `${access.ssh_user}@${access.ssh_host}`, 'echo "$(whoami)@$(hostname), $(nproc) CPU"',
  ];
  const { stdout } = await promisify(execFile)("ssh", given, { timeout: 120_000 });
  check(stdout.trim() === `${access.ssh_user}@${NAME}, 1 CPU`, stdout);
  return stdout.trim();
});

let paid = deposit;
await step("approve, topUp: an hour more", async () => {
  const before = await ask(url, "GET", `/vms/${NAME}/stream`, { token: session });
  check(before.payment_state === "active" && before.verified === true, JSON.stringify(before));
  const more = rate * 3600n;
  await mined(token.approve(quote.contract_address, more + more));
  const from = live.heard.length;
  await mined(payment.topUp(stream, more, GAS));
  paid += more;
  await live.say({ type: "refresh" });
  const remains = (message) => part(message, "stream")?.computed?.remaining_seconds;
  await live.hears("the hour", (message) => remains(message) > settings.seconds, from);
  const after = await ask(url, "GET", `/vms/${NAME}/stream`, { token: session });
  check(BigInt(after.chain.providerDeposit) === paid, JSON.stringify(after.chain));
  return "told on the socket and by GET /vms/{name}/stream";
});

await step("terminate: the rest comes back", async () => {
  const before = await token.balanceOf(wallet.address);
  const receipt = await mined(payment.terminate(stream, GAS));
  const event = receipt.logs.map((log) => payment.interface.parseLog(log)).find((log) => log?.name === "Terminated");
  const { senderRefund, providerPayout, donationPayout } = event.args;
  const back = (await token.balanceOf(wallet.address)) - before;
  check(back === senderRefund && providerPayout > 0n, `${back} came back`);
  const given = donation + ((paid - deposit) * BigInt(settings.donation_bps)) / 10_000n;
  check(senderRefund + providerPayout + donationPayout === paid + given, "wei were lost");
  check((await token.balanceOf(wallet.address)) === had - providerPayout - donationPayout, "another sum is left");
  return `the provider has ${providerPayout} wei, donated are ${donationPayout}, ${back} came back`;
});

await step("DELETE, and the VM is gone", async () => {
  const answer = await fetch(`${url}/api/v1/vms/${NAME}`, {
    method: "DELETE", headers: { authorization: `Bearer ${session}`, origin: ORIGIN },
  });
  // The node may have seen the end of the stream, and deleted it, before it was asked.
  check(answer.ok || answer.status === 404, `${answer.status} ${await answer.text()}`);
  const end = Date.now() + DEADLINE_MS;
  const is = async () => (await fetch(`${url}/api/v1/vms/${NAME}`, { headers: { authorization: `Bearer ${session}` } })).status;
  while ((await is()) !== 404) {
    check(Date.now() < end, "it is still there");
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  const { code } = await live.ended;
  return `the live socket ends with ${code}`;
});
process.exit(0);
