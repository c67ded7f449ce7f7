// The page with a thousand VMs: how long until they are listed, how much is drawn, and how soon a change is seen.

import assert from "node:assert/strict";
import { json, launch, link, live, measured, node, open, shot, until } from "./browser.js";

const browser = await launch();
const { page, state } = await open(browser, "about:blank");
const bytes = [];
const session = await page.context().newCDPSession(page);
await session.send("Network.enable");
session.on("Network.dataReceived", ({ dataLength }) => bytes.push(dataLength));
const begun = Date.now();
await page.goto(link());
await live(page);
await page.getByRole("link", { name: "VMs" }).click();
await page.getByRole("heading", { name: `VMs (${node.told.vms})` }).waitFor();
const listed = Date.now() - begun;
const first = bytes.reduce((sum, count) => sum + count, 0);
const rows = await page.getByRole("row").count();
const elements = await page.evaluate(() => document.querySelectorAll("*").length);
assert.ok(rows <= 51 && elements < 1500, `${rows} rows, ${elements} elements`);

await until("every VM runs", () => json("status").vms === node.told.vms);
const drawn = await page.evaluate(async () => {
  const button = [...document.querySelectorAll("button")].find((one) => one.textContent === "Next");
  const from = performance.now();
  button.click();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - from;
});
await page.getByText(`51–100 of ${node.told.vms}`).waitFor();
await page.getByLabel("Search").fill("vm-777");
await page.getByText("1–1 of 1").waitFor();
const [vm] = json("vms", "list").filter(({ name }) => name === "vm-777");
json("vms", "stop", vm.id);
const stopped = Date.now();
await page.getByRole("cell", { name: "stopped" }).waitFor();
const seen = Date.now() - stopped;
const heap = await page.evaluate(() => performance.memory.usedJSHeapSize);
await page.getByLabel("Search").fill("");
await shot(page, "thousand");
const before = bytes.reduce((sum, count) => sum + count, 0);
const from = Date.now();
await until("five seconds of changes", () => Date.now() - from > 5000);
const rate = (bytes.reduce((sum, count) => sum + count, 0) - before) / ((Date.now() - from) / 1000);
measured(
  "thousand",
  `${node.told.vms} VMs: listed after ${listed} ms (with the login, ${first} bytes); ${rows} rows, ${elements} elements; the next 50 drawn in ` +
    `${drawn.toFixed(0)} ms; a stop seen after ${seen} ms; heap ${(heap / 1e6).toFixed(0)} MB; ${(rate / 1000).toFixed(0)} kB a second`,
);
assert.ok(listed < 10_000 && drawn < 1000 && seen < 5000);
assert.deepEqual(state.wrong, []);
await browser.close();
