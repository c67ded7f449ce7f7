// How the node is: the verdict of `golem-provider status`, whether it is rented, found, reached and paid, and the host.

import { Fragment } from "preact";
import { call } from "../api";
import { Chart } from "../chart";
import { confirm } from "../dialog";
import { coins, percent } from "../format";
import { ofHost } from "../history";
import { Spans, useSpan } from "../span";
import { useStore } from "../store";
import { Fixes, Words } from "../text";
import type { Row } from "../types";

const GRADES = { healthy: "Healthy", issues: "Issues detected", error: "Error" };
const MARKS = { yes: "✓", no: "✗", unknown: "?" };
const ANSWERS = { yes: "yes", no: "no", unknown: "not known" };

function drain(draining: boolean): void {
  confirm({
    title: draining ? "Take rentals again?" : "Take no new rentals?",
    lines: draining
      ? ["Renters can rent VMs here again, and the adverts say so."]
      : ["VMs that are rented run on, and their renters can go on paying.", "Nobody can rent a new one, until you allow it again; a restart changes nothing of that."],
    verb: draining ? "Take rentals" : "Drain",
    act: async () => {
      await call("PUT", "/drain", { draining: !draining });
      return draining ? "The node takes rentals again." : "The node takes no new rentals.";
    },
  });
}

function Check({ row }: { row: Row }) {
  return (
    <li class={`check ${row.answer}${row.by_choice ? " chosen" : ""}`}>
      <strong>
        <span aria-hidden="true">{MARKS[row.answer]} </span>
        Can be {row.word}: {ANSWERS[row.answer]}
        {row.by_choice && row.answer === "no" ? ", as you chose" : ""}
      </strong>
      <p>
        <Words text={row.reason} />.
      </p>
      {row.fix && <Fixes fixes={[row.fix]} />}
    </li>
  );
}

/** What the node keeps of the host, in percent. */
const KEPT: [name: string, part: number][] = [
  ["cpu_percent", 1],
  ["memory_percent", 1],
  ["storage_percent", 1],
];

export function HealthView() {
  const { node } = useStore();
  const shown = useSpan("", KEPT, ofHost());
  if (!node) {
    return (
      <>
        <h1>Health</h1>
        <p role="status">Asking the node…</p>
      </>
    );
  }
  const { health, summary } = node;
  const { host, total, free } = summary;
  const payments = [summary.payments, ...summary.other_payments].filter((view) => view !== null);
  return (
    <>
      <h1>
        Health: <span class={`grade ${health?.grade}`}>{health ? GRADES[health.grade] : "not known"}</span>
      </h1>
      {health && (
        <>
          <ul class="checks">
            {health.checklist.map((row) => (
              <Check row={row} key={row.word} />
            ))}
          </ul>
          <h2>{health.issues.length === 0 ? "Nothing is off" : `What is off (${health.issues.length})`}</h2>
          <ul class="issues">
            {health.issues.map((issue) => (
              <li key={issue.text}>
                <Words text={issue.text} />
                <Fixes fixes={issue.fixes} more={issue.help} />
              </li>
            ))}
          </ul>
        </>
      )}
      <h2>The host</h2>
      <dl class="facts">
        <dt>Rented out</dt>
        <dd>
          {summary.vms} of at most {summary.max_vms} VMs
        </dd>
        <dt>Free to rent</dt>
        <dd>
          {free.cpu} of {total.cpu} cores, {free.memory} of {total.memory} GiB memory, {free.storage} of {total.storage} GiB
          storage
        </dd>
        <dt>In use now</dt>
        <dd>
          CPU {percent(host.cpu_percent)}, memory {percent(host.memory_percent)}, storage {percent(host.storage_percent)}
        </dd>
        <dt>VMs run on</dt>
        <dd>
          {summary.backend.name}
          {summary.backend.accelerator ? `, ${summary.backend.accelerator}` : ""}
        </dd>
        <dt>Environment</dt>
        <dd>
          {summary.environment} on {summary.network}
        </dd>
        <dt>https</dt>
        <dd>{health?.https ?? "none"}</dd>
        {health?.wallet && (
          <>
            <dt>Wallet for gas</dt>
            <dd>
              <span class="mono">{health.wallet.address}</span>,{" "}
              {health.wallet.balance_wei === null
                ? `balance not known: ${health.wallet.error}`
                : `${coins(health.wallet.balance_wei, 18)} ${health.wallet.symbol}`}
            </dd>
          </>
        )}
        {payments.map((view) => (
          <Fragment key={view.contract}>
            <dt>Payments</dt>
            <dd>
              {view.network}, {view.error ? <span class="bad">{view.error}</span> : `block ${view.block ?? "not known"}`}
              {view.endpoints
                .filter((endpoint) => !endpoint.is_well)
                .map((endpoint) => (
                  <p class="bad" key={endpoint.host}>
                    {endpoint.host}: {endpoint.problem ?? "it did not answer"}
                  </p>
                ))}
            </dd>
          </Fragment>
        ))}
        <dt>Version</dt>
        <dd>
          {summary.version}
          {health?.update_available ? ` (${health.latest} is there)` : ""}
        </dd>
      </dl>
      <p class="buttons">
        <button type="button" onClick={() => drain(summary.draining)}>
          {summary.draining ? "Take rentals again" : "Take no new rentals (drain)"}
        </button>
      </p>
      <h2>The host</h2>
      <Spans {...shown} />
      {shown.data ? (
        <Chart key={shown.span} title="In use" names={["CPU", "memory", "storage"]} of={[1, 2, 3]} data={shown.data} write={percent} most={100} />
      ) : (
        <p>Nothing is known of that time.</p>
      )}
    </>
  );
}
