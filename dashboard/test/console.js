// The page of a VM's console, as its renter uses it: nothing from elsewhere, nothing refused by its own rules, no token that stays in the
// address, and a second page that takes over.

import { launch, node } from "./browser.js";

const url = `http://127.0.0.1:${node.api}`;
const browser = await launch();
const wrong = [];

async function open(fragment) {
  const page = await browser.newPage();
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("request", (request) => request.url().startsWith(url) || wrong.push(`it asked ${request.url()}`));
  await page.goto(`${url}/console${fragment}`);
  return page;
}

const says = (page, id, text) =>
  page.waitForFunction(([id, text]) => document.getElementById(id).textContent.includes(text), [id, text]);

async function types(page, text) {
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
  await says(page, "terminal", "sim login:");
}

const first = await open(`#vm=${node.told.id}`);
await says(first, "state", "Open.");
if (first.url() !== `${url}/console`) wrong.push(`the address keeps ${first.url()}`);
await types(first, "root");

const second = await open("");
await second.fill("#vm", node.told.id);
await second.click("#open");
await says(second, "state", "Open.");
await says(first, "state", "another session took the console over");
await types(second, "again");

const stranger = await open(`#vm=${node.told.id}&token=golem-session-00`);
await says(stranger, "state", "the session is over");
await types(second, "still");

if (wrong.length > 0) throw new Error(wrong.join("\n"));
await browser.close();
