// A browser, the node that it looks at, and what must hold of every page: no console error, no request to anywhere else,
// nothing that axe-core finds, no sideways scrolling.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Longest that a level is waited for, in milliseconds. */
export const DEADLINE = 20_000;

export const node = JSON.parse(process.env.GOLEM_TEST_NODE);

/** Runs the node's program; what it printed. */
export function run(...words) {
  return execFileSync(node.program, words, { cwd: node.folder, env: node.environment, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

export const json = (...words) => JSON.parse(run(...words, "--json"));

export const link = () => json("dashboard").url;

export async function launch() {
  return chromium.launch({
    executablePath: process.env.GOLEM_TEST_CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

export const DESK = { width: 1200, height: 800 };
export const PHONE = { width: 360, height: 740 };

/** What was wrong with the pages so far: why a test fails is often told there. */
const all = [];
process.on("uncaughtException", (error) => {
  console.log(error, all.flat());
  process.exit(1);
});

/** A page of its own browser profile that tells of whatever is wrong with it. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: DESK, ...options });
  context.setDefaultTimeout(DEADLINE);
  const page = await context.newPage();
  const wrong = [];
  all.push(wrong);
  const state = { wrong, restarting: false, refuses: 0 };
  let origin = null;
  page.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return;
    // Chromium tells of requests that fail while the node is not there, and of those that a test has refused.
    const isExpected = /^Failed to load resource/.test(message.text()) && (state.restarting || state.refuses-- > 0);
    if (!isExpected) wrong.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => wrong.push(`error: ${error.stack}`));
  page.on("request", (request) => {
    const asked = new URL(request.url());
    // The page that the command line opens leads to ours.
    if (asked.protocol === "file:" || asked.protocol === "data:") return;
    origin ??= asked.origin;
    if (asked.origin !== origin) wrong.push(`asked ${request.url()}`);
  });
  await page.goto(url);
  return { context, page, state };
}

export const live = (page) => page.getByText("live", { exact: true }).waitFor();

/** Shows the view `hash`, whose heading has the text `title`. */
export async function show(page, hash, title) {
  await page.evaluate((to) => (location.hash = to), hash);
  await see(page, page.getByRole("heading", { level: 1, name: title }));
}

/** Waits for `locator`, or tells what there is in its place. */
export async function see(page, locator) {
  try {
    await locator.first().waitFor();
  } catch (error) {
    throw new Error(`not there: ${locator}; but: ${await page.locator("body").innerText()}`, { cause: error });
  }
}

/** What axe-core finds in the page as it is now must be nothing. */
export async function clean(page, where) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const told = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((one) => one.html).join(" ")}`);
  assert.deepEqual(told, [], `axe-core in ${where}`);
}

/** Nothing is wider than the screen. */
export async function fits(page, where) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(over <= 0, `${where} scrolls sideways by ${over} px`);
}

export const shot = (page, name) =>
  page.screenshot({ path: join(process.env.GOLEM_TEST_SCREENSHOTS, `${name}.png`), fullPage: true });

/** Prints what was measured, and keeps it beside the screenshots. */
export function measured(name, text) {
  console.log(text);
  writeFileSync(join(process.env.GOLEM_TEST_SCREENSHOTS, `${name}.txt`), `    ${text}\n`);
}

/** Answers the open dialog with `verb`, and gives what came of it. */
export async function confirmed(page, verb) {
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: verb, exact: true }).click();
  const close = dialog.getByRole("button", { name: "Close" });
  await close.waitFor();
  const text = await dialog.getByRole("status").innerText();
  await close.click();
  await dialog.waitFor({ state: "hidden" });
  return text;
}

/** Waits until `is` gives something true. */
export async function until(what, is) {
  const end = Date.now() + DEADLINE;
  for (;;) {
    const found = await is();
    if (found) return found;
    assert.ok(Date.now() < end, `not in time: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
