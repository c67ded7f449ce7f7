// A chain whose endpoint is gone: told with its reason, and everything else goes on.

import { clean, launch, link, live, open, see, shot, show } from "./browser.js";

const browser = await launch();
const { page, state } = await open(browser, link());
await live(page);
await see(page, page.getByText(/Can be paid: (no|not known)/));
await see(page, page.getByText("What is off"));
await clean(page, "health without an endpoint");
await shot(page, "endpoint-dead");
await show(page, "money", "Money");
await see(page, page.getByText("Shown as last read:"));
await see(page, page.getByText("Vested on open streams"));
await show(page, "vms", "VMs (2)");
if (state.wrong.length > 0) throw new Error(state.wrong.join("\n"));
await browser.close();
