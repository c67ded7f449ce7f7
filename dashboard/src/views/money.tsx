// What has vested, was received and is to come; by day, week and month.

import { Fragment } from "preact";
import { useState } from "preact/hooks";
import { Chart } from "../chart";
import { brief, coins, money } from "../format";
import { useLooks } from "../looks";
import { useStore } from "../store";
import type { Series } from "../history";
import type { Earnings, Wei } from "../types";
import { Lines } from "../text";
import { withdraw } from "../withdraw";

const EVERY = 30_000;
const SPANS = ["day", "week", "month"] as const;

/** A day as uPlot takes it, and amounts as whole coins, which is near enough for a picture. */
function series({ periods, decimals }: Earnings): Series {
  const whole = (wei: Wei): number => Number(BigInt(wei)) / 10 ** decimals;
  return [
    periods.map((line) => Date.parse(line.period) / 1000),
    periods.map((line) => whole(line.earned_wei)),
    periods.map((line) => whole(line.received_wei)),
  ];
}

export function MoneyView() {
  const { node } = useStore();
  const [by, setBy] = useState<(typeof SPANS)[number]>("day");
  const [told, why] = useLooks<{ earnings: Earnings; stale: string | null } | null>(`/earnings?by=${by}`, EVERY);
  if (told === undefined) {
    return (
      <>
        <h1>Money</h1>
        {why ? <p class="bad">{why}</p> : <p role="status">Adding up…</p>}
      </>
    );
  }
  if (told === null) {
    return (
      <>
        <h1>Money</h1>
        <p>
          Rentals are free on this node: no payment contract is set. <code>golem-provider networks list</code> names those that
          there are.
        </p>
      </>
    );
  }
  const { earnings, stale } = told;
  const { totals, forecast } = earnings;
  const written = (wei: Wei): string => money(wei, earnings);
  const facts: [string, string][] = [
    ["Vested on open streams", written(totals.vested_wei)],
    ["Of it withdrawable now", written(totals.withdrawable_wei)],
    ["Earned in all", written(totals.earned_wei)],
    ["Received in the wallet", written(totals.received_wei)],
    ["Of it not settled yet", written(totals.pending_wei)],
    ["Gas for that", coins(totals.gas_wei, 18)],
    [`Forecast for ${forecast.month.slice(0, 7)}`, `${written(forecast.total_wei)}, of it ${written(forecast.expected_wei)} to come`],
  ];
  return (
    <>
      <h1>Money</h1>
      {why && <p class="bad">{why}</p>}
      {stale && <p class="bad">Shown as last read: {stale}</p>}
      <dl class="facts">
        {facts.map(([name, text]) => (
          <Fragment key={name}>
            <dt>{name}</dt>
            <dd>{text}</dd>
          </Fragment>
        ))}
        {node?.summary.payouts.map((payout) => (
          <Fragment key={payout.wallet}>
            <dt>Paid out to</dt>
            <dd class="mono">
              {payout.to}
              {payout.problem && <p class="bad">{payout.problem}</p>}
            </dd>
          </Fragment>
        ))}
      </dl>
      {node?.summary.transactions.map((text) => (
        <p class="bad" key={text}>
          {text}
        </p>
      ))}
      <p class="buttons">
        <button type="button" onClick={() => withdraw(null)}>
          Withdraw all that has vested
        </button>
      </p>
      <div class="buttons" role="group" aria-label="Sums by">
        {SPANS.map((name) => (
          <button type="button" key={name} aria-pressed={name === by} onClick={() => setBy(name)}>
            {name}
          </button>
        ))}
      </div>
      {earnings.periods.length > 0 && (
        <Chart
          key={by}
          title={`By ${by}, in ${earnings.symbol}`}
          names={["earned", "received"]}
          of={[1, 2]}
          data={series(earnings)}
          write={(number) => number.toPrecision(3)}
          bars
        />
      )}
      <Lines
        heads={["From", "Earned", "Received", "Payments", "Gas"]}
        rows={earnings.periods.map((line) => [
          line.period,
          written(line.earned_wei),
          written(line.received_wei),
          String(line.withdrawals),
          coins(line.gas_wei, 18),
        ]).reverse()}
      />
      <h2>Open streams</h2>
      <Lines
        heads={["VM", "Stream", "Vested", "Withdrawn", "Withdrawable"]}
        rows={earnings.streams.map((line) => [
          line.vm_id,
          String(line.stream_id),
          money(line.vested_wei, line),
          money(line.withdrawn_wei, line),
          money(line.withdrawable_wei, line),
        ])}
        link={0}
      />
      <h2>By renter</h2>
      <Lines
        heads={["Renter", "Earned", "Received"]}
        rows={earnings.by_renter.map((line) => [line.of ? brief(line.of) : "–", written(line.earned_wei), written(line.received_wei)])}
      />
    </>
  );
}
