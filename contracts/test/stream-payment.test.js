// The contract on a real EVM: each function, its refusals, and its arithmetic against a model.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { parseEventLogs } from "viem";
import { NATIVE, accounts, artifact, startChain } from "./chain.js";

const [oracle, sender, recipient, stranger] = accounts;
const RATE = 1_000n;
let chain;
let payment;

before(async () => {
  chain = await startChain();
  payment = await chain.deploy("StreamPayment", [oracle.address]);
});
after(() => chain?.stop());

async function open({ token = NATIVE, to = recipient.address, deposit = 3_600_000n, rate = RATE, value } = {}) {
  const paid = value ?? (token === NATIVE ? deposit : 0n);
  const receipt = await chain.send(payment, "createStream", [token, to, deposit, rate], { from: sender, value: paid });
  const [event] = parseEventLogs({ abi: payment.abi, logs: receipt.logs, eventName: "StreamCreated" });
  return { id: event.args.streamId, event: event.args };
}

async function stream(id) {
  const [token, from, to, startTime, stopTime, ratePerSecond, deposit, withdrawn, halted] =
    await chain.read(payment, "streams", [id]);
  return { token, from, to, startTime, stopTime, ratePerSecond, deposit, withdrawn, halted };
}

const refuses = (promise, reason) => assert.rejects(promise, (error) => error.message.includes(reason));
const balance = (address) => chain.client.getBalance({ address });

test("a created stream reads as clients read it, and its event tells the same", async () => {
  const { id, event } = await open({ deposit: 7_200_500n });
  const read = await stream(id);
  assert.equal(read.stopTime - read.startTime, 7_200n);
  assert.deepEqual(
    { ...read, startTime: 0n, stopTime: 0n },
    {
      token: NATIVE,
      from: sender.address,
      to: recipient.address,
      startTime: 0n,
      stopTime: 0n,
      ratePerSecond: RATE,
      deposit: 7_200_500n,
      withdrawn: 0n,
      halted: false,
    },
  );
  assert.deepEqual(
    [event.sender, event.recipient, event.deposit, event.startTime, event.stopTime],
    [sender.address, recipient.address, 7_200_500n, read.startTime, read.stopTime],
  );
});

test("ids begin with 1 and no stream is like another", async () => {
  const fresh = await chain.deploy("StreamPayment", [oracle.address]);
  const args = [NATIVE, recipient.address, 1_000n, 1n];
  for (const wanted of [1n, 2n]) {
    assert.equal(await chain.read(fresh, "nextStreamId"), wanted - 1n, "the getter tells the newest id");
    const receipt = await chain.send(fresh, "createStream", args, { from: sender, value: 1_000n });
    const [event] = parseEventLogs({ abi: fresh.abi, logs: receipt.logs });
    assert.equal(event.args.streamId, wanted);
  }
});

test("what makes no stream is refused", async () => {
  await refuses(open({ deposit: 0n }), "deposit=0");
  await refuses(open({ rate: 0n }), "rate=0");
  await refuses(open({ to: NATIVE }), "recipient=0");
  await refuses(open({ value: 1n }), "value != amount");
  const large = 2n ** 200n;
  const token = await chain.deploy("TestToken", [0n]);
  await chain.send(token, "mint", [sender.address, large]);
  await chain.send(token, "approve", [payment.address, large], { from: sender });
  await refuses(open({ token: token.address, deposit: large, rate: 1n }), "too long");
  await refuses(open({ token: token.address, value: 1n }), "value with token");
});

test("what has vested is paid to the recipient, and to nobody else", async () => {
  const { id } = await open();
  const { startTime } = await stream(id);
  await refuses(chain.send(payment, "withdraw", [id], { from: stranger }), "not recipient");
  await chain.warp(100);
  const before = await balance(recipient.address);
  const receipt = await chain.send(payment, "withdraw", [id], { from: recipient });
  const gas = receipt.gasUsed * receipt.effectiveGasPrice;
  const paid = ((await chain.now()) - startTime) * RATE;
  assert.equal(await balance(recipient.address), before - gas + paid);
  assert.equal((await stream(id)).withdrawn, paid);
  await chain.warp(10_000);
  await chain.send(payment, "withdraw", [id], { from: recipient });
  assert.equal((await stream(id)).withdrawn, 3_600_000n, "never more than the deposit");
  await refuses(chain.send(payment, "withdraw", [id], { from: recipient }), "nothing vested");
});

test("a top-up moves the end on; after a lapse from now, and the gap vests up to the deposit", async () => {
  const { id } = await open({ deposit: 100_000n });
  const { startTime, stopTime } = await stream(id);
  await chain.send(payment, "topUp", [id, 50_000n], { from: stranger, value: 50_000n });
  assert.equal((await stream(id)).stopTime, stopTime + 50n);
  await chain.warp(1_000);
  await chain.send(payment, "topUp", [id, 60_000n], { from: sender, value: 60_000n });
  const now = await chain.now();
  const later = await stream(id);
  assert.deepEqual([later.stopTime, later.deposit], [now + 60n, 210_000n]);
  assert.ok((now - startTime) * RATE > later.deposit);
  assert.equal(await chain.read(payment, "vestedAmount", [id]), later.deposit);
  await refuses(chain.send(payment, "topUp", [id, 0n], { from: sender }), "amount=0");
  await refuses(chain.send(payment, "topUp", [999n, 1n], { from: sender, value: 1n }), "no such stream");
});

test("terminate pays both parties, zeroes the recipient and nothing else that is read", async () => {
  const { id } = await open();
  const before = await stream(id);
  await refuses(chain.send(payment, "terminate", [id], { from: stranger }), "not a party");
  await chain.warp(600);
  const [had, owned] = [await balance(recipient.address), await balance(payment.address)];
  await chain.send(payment, "terminate", [id], { from: sender });
  const vested = ((await chain.now()) - before.startTime) * RATE;
  assert.equal(await balance(recipient.address), had + vested);
  assert.equal(await balance(payment.address), owned - before.deposit);
  assert.deepEqual(await stream(id), { ...before, to: NATIVE, withdrawn: vested });
  for (const name of ["withdraw", "terminate"]) {
    await refuses(chain.send(payment, name, [id], { from: sender }), "no such stream");
  }
});

test("a halt freezes what vests, and only the oracle halts", async () => {
  const { id } = await open();
  await refuses(chain.send(payment, "haltStream", [id], { from: sender }), "not oracle");
  await chain.warp(500);
  await chain.send(payment, "haltStream", [id], { from: oracle });
  const frozen = await chain.read(payment, "vestedAmount", [id]);
  await chain.warp(500);
  assert.equal(await chain.read(payment, "vestedAmount", [id]), frozen);
  assert.equal((await stream(id)).halted, true);
  await refuses(chain.send(payment, "topUp", [id, 1_000n], { from: sender, value: 1_000n }), "halted");
  await refuses(chain.send(payment, "haltStream", [id], { from: oracle }), "halted");
  await chain.send(payment, "withdraw", [id], { from: recipient });
  assert.equal((await stream(id)).withdrawn, frozen);
  await chain.send(payment, "terminate", [id], { from: sender });
});

test("a token works as the chain's own money does; one that keeps a fee is refused", async () => {
  const token = await chain.deploy("TestToken", [0n]);
  await chain.send(token, "mint", [sender.address, 3_600_000n]);
  await chain.send(token, "approve", [payment.address, 3_600_000n], { from: sender });
  const { id } = await open({ token: token.address });
  await chain.warp(1_800);
  await chain.send(payment, "withdraw", [id], { from: recipient });
  const paid = await chain.read(token, "balanceOf", [recipient.address]);
  assert.equal(paid, (await stream(id)).withdrawn);
  await chain.send(payment, "terminate", [id], { from: sender });
  const both = [recipient, sender].map(({ address }) => chain.read(token, "balanceOf", [address]));
  assert.equal((await Promise.all(both)).reduce((a, b) => a + b), 3_600_000n);
  const fee = await chain.deploy("TestToken", [100n]);
  await chain.send(fee, "mint", [sender.address, 3_600_000n]);
  await chain.send(fee, "approve", [payment.address, 3_600_000n], { from: sender });
  await refuses(open({ token: fee.address }), "token takes a fee");
});

test("a party that refuses its money keeps neither it nor the other's from anyone", async () => {
  const refuser = await chain.deploy("Refuser", [payment.address]);
  const { id } = await open({ to: refuser.address });
  await chain.warp(600);
  await refuses(chain.send(refuser, "withdraw", [id]), "receiver refused");
  const before = await balance(payment.address);
  await chain.send(payment, "terminate", [id], { from: sender });
  const owed = await chain.read(payment, "claims", [refuser.address]);
  assert.equal(await balance(payment.address), before - 3_600_000n + owed);
  // It comes in again while it is paid: refused, so that nothing is paid twice.
  await chain.send(refuser, "set", [true, true]);
  await refuses(chain.send(refuser, "claim", []), "receiver refused");
  await chain.send(refuser, "set", [true, false]);
  await chain.send(refuser, "claim", []);
  assert.equal(await balance(refuser.address), owed);
  await refuses(chain.send(refuser, "claim", []), "nothing owed");
});

// A small generator with a fixed seed, so that a failure can be run again.
function random(seed) {
  let state = seed;
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((state / 2 ** 31) * below);
  };
}

test("over random lives, the contract vests what the model says and is never short of money", async () => {
  for (let seed = 1; seed <= 12; seed += 1) {
    const next = random(seed);
    const deposit = BigInt(1 + next(1_000_000));
    const rate = BigInt(1 + next(5_000));
    const { id } = await open({ deposit, rate });
    const { startTime } = await stream(id);
    const model = { deposit, stop: startTime + deposit / rate, withdrawn: 0n, halted: false };
    const vested = (now) => {
      const earned = ((now < model.stop ? now : model.stop) - startTime) * rate;
      return earned < model.deposit ? earned : model.deposit;
    };
    for (let step = 0; step < 12; step += 1) {
      const kind = next(10);
      if (kind < 4) {
        await chain.warp(1 + next(600));
      } else if (kind < 7 && !model.halted) {
        const amount = BigInt(1 + next(300_000));
        await chain.send(payment, "topUp", [id, amount], { from: sender, value: amount });
        const now = await chain.now();
        model.deposit += amount;
        model.stop = (model.stop > now ? model.stop : now) + amount / rate;
      } else if (kind < 9 && vested(await chain.now()) > model.withdrawn) {
        await chain.send(payment, "withdraw", [id], { from: recipient });
        model.withdrawn = vested(await chain.now());
      } else if (kind === 9 && !model.halted) {
        await chain.send(payment, "haltStream", [id], { from: oracle });
        const now = await chain.now();
        model.halted = true;
        if (model.stop > now) model.stop = now;
      }
      const read = await stream(id);
      assert.deepEqual(
        [read.deposit, read.stopTime, read.withdrawn],
        [model.deposit, model.stop, model.withdrawn],
        `seed ${seed}, step ${step}`,
      );
      assert.equal(await chain.read(payment, "vestedAmount", [id]), vested(await chain.now()), `seed ${seed}`);
      assert.ok((await balance(payment.address)) >= model.deposit - model.withdrawn);
    }
    await chain.send(payment, "terminate", [id], { from: sender });
  }
});

test("the artifact has every function that existing clients call", () => {
  const { abi } = artifact("StreamPayment");
  const signatures = abi
    .filter(({ type }) => type === "function")
    .map(({ name, inputs }) => `${name}(${inputs.map(({ type }) => type).join(",")})`);
  for (const wanted of [
    "createStream(address,address,uint256,uint128)",
    "streams(uint256)",
    "topUp(uint256,uint256)",
    "terminate(uint256)",
    "withdraw(uint256)",
    "haltStream(uint256)",
  ]) {
    assert.ok(signatures.includes(wanted), wanted);
  }
});
