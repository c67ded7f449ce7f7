// What an operator does with the page, all of it.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { DESK, PHONE, clean, confirmed, fits, json, launch, link, live, measured, node, open, run, see, shot, show, until } from "./browser.js";

const { vms, address } = node.told;
const VIEWS = [
  ["health", /^Health/],
  ["vms", /^VMs/],
  [`vms/${vms[0]}`, "web-server"],
  ["money", "Money"],
  ["ports", "Ports"],
  ["markets", "Markets"],
  ["images", "Images"],
  ["events", "Events"],
  ["logs", "Logs"],
];

const step = (what) => console.log(`- ${what}`);
const browser = await launch();

step("log in by a link, which then is gone, and works no second time");
const url = link();
const { page, state, context } = await open(browser, url);
await live(page);
assert.ok(!page.url().includes(url.split("#")[1]), page.url());
const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
const weight = await page.evaluate(() =>
  [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter(({ name }) => !name.includes("/api/"))
    .reduce((sum, entry) => sum + entry.decodedBodySize, 0),
);
measured("tasks", `first paint: ${paint.toFixed(0)} ms; weight: ${weight} bytes`);
assert.ok(weight > 10_000 && weight <= 200_000, `${weight}`);
const second = await open(browser, "about:blank");
second.state.refuses = 1;
await second.page.goto(url);
await see(second.page, second.page.getByText("was used already"));
await clean(second.page, "the login");
await shot(second.page, "login");

step("two browsers at a time");
const other = await open(browser, "about:blank");
// As the command line has a browser open it.
const file = join(node.folder, "open.html");
writeFileSync(file, `<!doctype html><meta http-equiv="refresh" content="0; url=${link()}">`);
await other.page.goto(`file://${file}`);
await live(other.page);

step("the cookie is for no script, and for this page only");
const [cookie, ...more] = await context.cookies(page.url());
assert.deepEqual(more, []);
assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/dashboard/"]);
assert.equal(await page.evaluate(() => document.cookie), "");

step("every view, in the light and in the dark, on a desk and on a phone");
for (const [scheme, viewport, kind] of [
  ["light", DESK, "desk-light"],
  ["dark", PHONE, "phone-dark"],
  ["light", PHONE, null],
  ["dark", DESK, null],
]) {
  await page.emulateMedia({ colorScheme: scheme });
  await page.setViewportSize(viewport);
  for (const [hash, title] of VIEWS) {
    await show(page, hash, title);
    const where = `${hash}, ${scheme}, ${viewport.width} px`;
    await page.waitForFunction(() => !/Adding up…|Asking /.test(document.querySelector("main").innerText));
    if (hash === "markets") await see(page, page.getByText("A month here"));
    if (hash.startsWith("vms/")) await see(page, page.getByText("simulated guest"));
    await fits(page, where);
    await clean(page, where);
    if (kind) await shot(page, `${hash.replace(/\/.*/, "-one")}-${kind}`);
  }
}
await page.setViewportSize(DESK);
await page.emulateMedia({ colorScheme: "light" });

step("what the views tell is what the node says");
await show(page, "health", /^Health/);
const verdict = json("status").overall;
const heading = { healthy: "Healthy", issues: "Issues detected", error: "Error" }[verdict.status];
await see(page, page.getByRole("heading", { name: `Health: ${heading}` }));
for (const word of ["rented", "found", "reached", "paid"]) await see(page, page.getByText(`Can be ${word}: `));
await show(page, "vms", "VMs (3)");
const row = page.getByRole("row", { name: /web-server/ });
await until("the row has its CPU", async () => /\d+ %/.test(await row.innerText()));
assert.match(await row.innerText(), /running[\s\S]*1 h 4\d min|1 h 5\d min/);
await page.getByLabel("Search").fill("builder");
await see(page, page.getByText("1–1 of 1"));
await show(page, "money", "Money");
await see(page, page.getByText(/MINE/));
const earned = json("earnings");
assert.ok(BigInt(earned.totals.vested_wei) > 0n);
await until("three streams are listed", async () => (await page.getByRole("link", { name: /golem-/ }).count()) === 3);
for (const name of ["week", "month", "day"]) await page.getByRole("button", { name, exact: true }).click();
await show(page, "ports", "Ports");
await see(page, page.getByText(/8: \d reachable/));
await show(page, "markets", "Markets");
await see(page, page.getByText("renters find this node"));
await show(page, "events", "Events");
await see(page, page.getByRole("cell", { name: vms[0] }));

step("by keyboard: to a view, to an action, away from it");
await show(page, "health", /^Health/);
await page.reload();
await live(page);
for (let count = 0; count < 2; count += 1) await page.keyboard.press("Tab");
assert.equal(await page.evaluate(() => document.activeElement.textContent), "VMs");
const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
await page.keyboard.press("Enter");
await see(page, page.getByRole("heading", { name: /^VMs/ }));
assert.equal(await page.evaluate(() => document.activeElement.id), "main");
await show(page, `vms/${vms[2]}`, "doomed");
await page.getByRole("button", { name: "Delete" }).focus();
await page.keyboard.press("Enter");
await see(page, page.getByRole("dialog"));
await clean(page, "a dialog");
await shot(page, "dialog");
await page.keyboard.press("Escape");
await page.getByRole("dialog").waitFor({ state: "hidden" });
assert.equal(json("vms", "list").length, 3, "nothing was done");
assert.notEqual(outline, "none");

step("charts of a day, with a gap, and of a month of which nothing is known");
await show(page, `vms/${vms[0]}`, "web-server");
const kept = {
  step_seconds: 60,
  at: [1800000000, 1800000060, 1800000240],
  cpu_permille: [null, 500, 1250],
  memory_bytes: [1, 1, 3 * 2 ** 30],
  disk_bytes: [1, 1, 1],
  received_per_second: [null, 0, 0],
  sent_per_second: [null, 0, null],
};
await page.route("**/history/minute", (route) => route.fulfill({ json: kept }));
await page.route("**/history/hour", (route) => route.fulfill({ json: { ...kept, at: [] } }));
await page.getByRole("button", { name: "Day", exact: true }).click();
await see(page, page.getByRole("img", { name: "CPU, of one core: CPU: 125 %" }));
await see(page, page.getByRole("img", { name: /Memory: memory: 3\.0 GiB/ }));
await see(page, page.getByRole("img", { name: /Network: in: 0 .*, out: nothing yet/ }));
await clean(page, "charts of a day");
await page.getByRole("button", { name: "Month", exact: true }).click();
await see(page, page.getByText("Nothing is known of that time."));
await page.unroute("**/history/minute");
await page.getByRole("button", { name: "Since this page was opened" }).click();
await see(page, page.getByRole("img", { name: /^CPU, of one core/ }));

step("stop, start, restart, delete");
await show(page, `vms/${vms[0]}`, "web-server");
for (const [verb, state] of [["Stop", "stopped"], ["Start", "running"], ["Restart", "running"]]) {
  await page.getByRole("button", { name: verb, exact: true }).click();
  assert.equal(await confirmed(page, verb), `web-server is ${state}.`);
  assert.equal(json("vms", "show", vms[0]).status, state);
}
await show(page, `vms/${vms[2]}`, "doomed");
await page.getByRole("button", { name: "Delete" }).click();
assert.equal(await confirmed(page, "Delete it for ever"), "doomed is gone.");
await see(page, page.getByRole("heading", { name: "No such VM" }));
await show(other.page, "vms", "VMs (2)");

step("drain on and off");
await show(page, "health", /^Health/);
await page.getByRole("button", { name: /drain/ }).click();
await confirmed(page, "Drain");
await until("it is draining", () => json("status").draining);
await page.getByRole("button", { name: "Take rentals again" }).click();
await confirmed(page, "Take rentals");
await until("it is not", () => !json("status").draining);

step("withdraw");
await show(page, "money", "Money");
await page.getByRole("button", { name: "Withdraw all that has vested" }).click();
const withdrawn = await confirmed(page, "Withdraw");
assert.match(withdrawn, new RegExp(`${vms[0]}: (paid|skipped|under way|failed)`));
console.log(`  ${withdrawn}`);

step("verify the ports");
await show(page, "ports", "Ports");
await page.getByRole("button", { name: "Verify now" }).click();
assert.match(await confirmed(page, "Verify"), /has begun/);

step("prices: what cannot be is told, what can be starts the node anew, and the page comes back");
await show(page, "markets", "Markets");
const core = page.getByLabel("USD a month for a core");
await core.fill("7.25");
await page.getByRole("button", { name: "Change the prices…" }).click();
await see(page, page.getByText("a core: 5 → 7.25 USD a month"));
for (const one of [state, other.state]) one.restarting = true;
assert.match(await confirmed(page, "Change the prices"), /are changed/);
await until("the new price is asked", () => {
  try {
    return json("pricing", "show").usd.per_core === "7.25";
  } catch {
    return false;
  }
});
await live(page);
await until("the form has it", async () => (await core.inputValue()) === "7.25");

step("the node is stopped and started: told meanwhile, and live again without a login");
run("stop");
await see(page, page.getByText("The node is restarting, or not reachable."));
await clean(page, "a node that is not reachable");
await shot(page, "not-reachable");
run("start", "--daemon");
await live(page);
await live(other.page);
for (const one of [state, other.state]) one.restarting = false;

step("images: the simulated backend has none; one that has some is forged");
await page.route("**/dashboard/api/images", (route) =>
  route.fulfill({ json: [{ name: "24.04", aliases: ["noble"], bytes: null, default: true, can_be_pulled: true, pull: null }] }),
);
await page.route("**/dashboard/api/images/24.04", (route) => route.fulfill({ status: 202, json: null }));
await show(page, "images", "Images");
await page.getByRole("button", { name: "Download 24.04" }).click();
assert.equal(await confirmed(page, "Download"), "The download has begun.");
await clean(page, "images");

step("who changed what is in the log");
await show(page, "logs", "Logs");
await page.getByLabel("only who changed what").check();
await page.getByText("somebody logged out").waitFor({ state: "detached" });
await shot(page, "audit");

step("texts that would be code are texts");
const hostile = `<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">`;
await page.route("**/dashboard/api/vms/*/logs", (route) =>
  route.fulfill({ json: { name: hostile, console: hostile, process_log: hostile, failed_boot: { at: "2026-01-01T00:00:00Z", stage: hostile, reason: hostile, cause: hostile } } }),
);
await page.route("**/dashboard/api/vms/*/events", (route) =>
  route.fulfill({ json: [{ at: hostile, vm_id: hostile, kind: hostile, detail: hostile }] }),
);
await page.route("**/dashboard/api/log?*", (route) =>
  route.fulfill({ json: { count: 1, lines: [{ timestamp: hostile, level: hostile, message: hostile, target: "audit", more: hostile }] } }),
);
await show(page, `vms/${vms[0]}`, "web-server");
await see(page, page.getByText(hostile));
await clean(page, "hostile texts");
await show(page, "logs", "Logs");
await page.getByLabel("only who changed what").check();
await see(page, page.getByText(hostile));
const forged = await open(browser, "about:blank");
await forged.page.route("**/dashboard/api/live", async (route) => {
  const vm = { ...json("vms", "show", vms[0]), id: hostile, name: hostile, owner: hostile, status: hostile, error: hostile, image: hostile };
  const event = { at: new Date().toISOString(), changed: [{ ...vm, paid_until: null }], gone: [] };
  await route.fulfill({ contentType: "text/event-stream", body: `event: vms\ndata: ${JSON.stringify(event)}\n\n` });
});
await forged.page.goto(link());
await forged.page.getByRole("link", { name: "VMs" }).click();
await forged.page.getByRole("link", { name: hostile }).click();
await see(forged.page, forged.page.getByRole("heading", { level: 1, name: hostile }));
for (const one of [page, forged.page]) {
  assert.equal(await one.evaluate(() => window.hacked), undefined);
  assert.equal(await one.locator("main script, main img").count(), 0);
}

step("a clock that is wrong is told of");
const late = await open(browser, "about:blank");
await late.page.addInitScript(() => {
  const now = Date.now.bind(Date);
  Date.now = () => now() - 3_600_000;
});
await late.page.goto(link());
await see(late.page, late.page.getByText("ahead of this browser's"));
await clean(late.page, "a wrong clock");

step("log out: this session ends, the other goes on");
await page.getByRole("button", { name: "Log out" }).click();
await see(page, page.getByText("You are logged out."));
await live(other.page);
state.refuses = 1;
assert.equal(await page.evaluate(async () => (await fetch("/dashboard/api/vms")).status), 401);
await page.reload();
await see(page, page.getByRole("heading", { name: "Log in" }));

for (const [name, { state: one }] of Object.entries({ first: { state }, second, other, late })) {
  assert.deepEqual(one.wrong, [], `${name} page`);
}
assert.ok(address.startsWith("0x"));
await browser.close();
console.log("every task was done");
