// The page: who is let in, what is shown, and whether the node is there.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "./page.css";
import { Refused, login, logout } from "./api";
import { Dialog, Notice } from "./dialog";
import { span } from "./format";
import { Words } from "./text";
import { changed, follow, leave, state, useStore } from "./store";
import { EventsView, LogsView } from "./views/events";
import { HealthView } from "./views/health";
import { ImagesView } from "./views/images";
import { MarketsView } from "./views/markets";
import { MoneyView } from "./views/money";
import { PortsView } from "./views/ports";
import { VmView, VmsView } from "./views/vms";

const VIEWS = {
  health: ["Health", HealthView],
  vms: ["VMs", VmsView],
  money: ["Money", MoneyView],
  ports: ["Ports", PortsView],
  markets: ["Markets", MarketsView],
  images: ["Images", ImagesView],
  events: ["Events", EventsView],
  logs: ["Logs", LogsView],
} as const;

type Name = keyof typeof VIEWS;

/** Clocks that differ by more are told of. */
const SKEW = 60_000;

const LINK = /^#[0-9a-f]{64}$/;

function route(): [Name, string | undefined] {
  const [name, id] = location.hash.slice(1).split("/");
  if (!name || !(name in VIEWS)) return ["health", undefined];
  try {
    return [name as Name, id && decodeURIComponent(id)];
  } catch {
    return [name as Name, undefined];
  }
}

function Out() {
  const { why } = useStore();
  return (
    <main class="out" id="main">
      <h1>Log in</h1>
      {why && (
        <Notice kind="warn">
          <Words text={why} />
        </Notice>
      )}
      <p>On the machine of the node, this gives a link that works once:</p>
      <pre>golem-provider dashboard</pre>
      <p>For the node of a service: sudo golem-provider dashboard.</p>
    </main>
  );
}

function Connection() {
  const { link, why, againAt, skew } = useStore();
  const [, tick] = useState(0);
  useEffect(() => {
    if (link !== "lost") return;
    const timer = setInterval(() => tick((count) => count + 1), 500);
    return () => clearInterval(timer);
  }, [link]);
  const wait = Math.max(0, Math.ceil((againAt - Date.now()) / 1000));
  return (
    <>
      {link === "lost" && (
        <Notice kind="bad">
          {why} What is shown is as it was last seen. Trying again{wait > 0 ? ` in ${wait} s` : ""}…
        </Notice>
      )}
      {Math.abs(skew) > SKEW && (
        <Notice kind="warn">
          The clock of the node is {span(Math.abs(skew) / 1000)} {skew > 0 ? "ahead of" : "behind"} this browser's; spans are
          counted by the node's. One of them is wrong: payments and certificates need the right time.
        </Notice>
      )}
    </>
  );
}

function Page() {
  const { link, node } = useStore();
  const [place, setPlace] = useState(route);
  useEffect(() => {
    const go = (): void => {
      if (LINK.test(location.hash)) return void enter();
      setPlace(route());
      document.getElementById("main")?.focus();
    };
    addEventListener("hashchange", go);
    return () => removeEventListener("hashchange", go);
  }, []);
  const [name, id] = place;
  useEffect(() => {
    document.title = `${VIEWS[name][0]} – golem-provider`;
  }, [name]);
  if (link === "out") return <Out />;
  const View = VIEWS[name][1];
  const grade = link === "live" ? (node?.health?.grade ?? "unknown") : "unknown";
  return (
    <>
      <header>
        <p class="title">
          <span class={`dot ${grade}`} aria-hidden="true" /> golem-provider{" "}
          <span class="faint">{link === "live" ? "live" : link === "connecting" ? "connecting…" : "not connected"}</span>
        </p>
        <nav aria-label="Views">
          {Object.entries(VIEWS).map(([key, [title]]) => (
            <a key={key} href={`#${key}`} aria-current={key === name ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <button type="button" onClick={() => void logout().catch(() => undefined).then(() => leave("You are logged out."))}>
          Log out
        </button>
      </header>
      <Connection />
      <main id="main" tabIndex={-1}>
        {name === "vms" && id ? <VmView id={id} key={id} /> : <View />}
      </main>
      <Dialog />
    </>
  );
}

/** Uses the login link in the address, which is gone from there before anything else is done. */
async function enter(): Promise<void> {
  const link = location.hash.slice(1);
  history.replaceState(null, "", `${location.pathname}#health`);
  state.link = "connecting";
  changed();
  try {
    await login(link);
  } catch (error) {
    const why = error instanceof Refused ? error.message : "The node cannot be reached; is it running?";
    return leave(`${why[0]!.toUpperCase()}${why.slice(1)}.`);
  }
  await follow();
}

const page = document.getElementById("page")!;
page.textContent = "";
render(<Page />, page);
void (LINK.test(location.hash) ? enter() : follow());
