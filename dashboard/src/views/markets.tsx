// Each advert as renters see it, with the price against others'; and the prices themselves.

import { useEffect, useState } from "preact/hooks";
import { call, look } from "../api";
import { confirm } from "../dialog";
import { ago, time } from "../format";
import { now, useStore } from "../store";
import type { Advert, Market, Prices, Pricing, Terms } from "../types";
import { Lines } from "../text";

const SIZES = { small: [1, 1, 10], medium: [2, 4, 20], large: [4, 8, 40], xlarge: [8, 16, 80] } as const;
const SHOWN = 20;
const STANDINGS = { starting: "nothing is known yet", current: "renters find the node", hidden: "the node is not offered", problem: "not found" };

const usd = (number: number | null): string => (number === null ? "?" : number.toFixed(2));

function Kept({ advert }: { advert: Advert }) {
  return (
    <li>
      <strong>{advert.place}</strong>: {STANDINGS[advert.standing]}
      {advert.lapses_at && advert.standing === "current" ? `, until ${time(advert.lapses_at)} unless renewed` : ""}
      {advert.problem && <p class="bad">{advert.problem}</p>}
    </li>
  );
}

function Seen({ market }: { market: Market }) {
  const { own, usd_month: rank } = market;
  const cheapest = [...market.others].sort((one, other) => (one.usd_month ?? Infinity) - (other.usd_month ?? Infinity));
  const row = (terms: Terms): string[] => [terms.name, terms.country, terms.platform, usd(terms.usd_month), usd(terms.glm_month)];
  return (
    <section>
      <h3>{market.place}</h3>
      {market.error ? (
        <p class="bad">It cannot be asked: {market.error}</p>
      ) : (
        <>
          <dl class="facts">
            <dt>Advert</dt>
            <dd class={own ? "good" : "bad"}>{own ? "renters find this node" : "renters do not find this node"}</dd>
            {own && (
              <>
                <dt>It offers</dt>
                <dd>
                  {own.cpu} cores, {own.memory} GiB memory, {own.storage} GiB storage, {own.platform}, {own.country}
                </dd>
                <dt>It lapses</dt>
                <dd>{own.lapses_at ? `${ago(own.lapses_at, now())}, unless the node renews it` : "while the node is connected, never"}</dd>
              </>
            )}
            <dt>A month here</dt>
            <dd>{usd(rank.own)} USD</dd>
            <dt>With others</dt>
            <dd>
              {rank.others === 0
                ? "nobody else offers this size"
                : `lowest ${usd(rank.lowest)}, median ${usd(rank.median)} USD; ${rank.cheaper_percent ?? "?"} % of ${rank.others} ask less`}
            </dd>
          </dl>
          {cheapest.length > 0 && (
            <Lines heads={["Name", "Country", "Platform", "USD", "GLM"]} rows={cheapest.slice(0, SHOWN).map(row)} />
          )}
        </>
      )}
    </section>
  );
}

const NAMES: [keyof Prices, string][] = [
  ["per_core", "a core"],
  ["per_gb_ram", "a GiB of memory"],
  ["per_gb_storage", "a GiB of storage"],
];

function PriceForm({ pricing }: { pricing: Pricing }) {
  const [typed, setTyped] = useState<Prices>(pricing.usd);
  const submit = (event: Event): void => {
    event.preventDefault();
    const changes = NAMES.filter(([key]) => typed[key].trim() !== pricing.usd[key]);
    confirm({
      title: "Change the prices?",
      lines: [
        ...NAMES.map(([key, name]) => `${name}: ${pricing.usd[key]} → ${typed[key].trim()} USD a month`),
        changes.length === 0 ? "Nothing differs from now." : "New rentals cost that, and the adverts say so. VMs that are rented keep their price.",
        "The node starts anew for that, in a few seconds; VMs run on, and this page comes back by itself.",
      ],
      verb: "Change the prices",
      act: async () => {
        const trimmed = Object.fromEntries(NAMES.map(([key]) => [key, typed[key].trim()]));
        await call("PUT", "/prices", trimmed);
        return "The prices are changed; the node starts anew with them.";
      },
    });
  };
  return (
    <form onSubmit={submit} class="prices">
      {NAMES.map(([key, name]) => (
        <label key={key}>
          USD a month for {name}
          <input
            inputMode="decimal"
            autocomplete="off"
            required
            pattern="[0-9]+([.][0-9]+)?"
            value={typed[key]}
            onInput={(event) => setTyped({ ...typed, [key]: event.currentTarget.value })}
          />
        </label>
      ))}
      <button type="submit">Change the prices…</button>
    </form>
  );
}

export function MarketsView() {
  const { node, link } = useStore();
  const [sized, setSized] = useState<keyof typeof SIZES>("small");
  const [markets, setMarkets] = useState<Market[] | null>(null);
  const [pricing, setPricing] = useState<Pricing | null>(null);
  const [why, setWhy] = useState("");
  useEffect(() => {
    let isOver = false;
    const [cpu, memory, storage] = SIZES[sized];
    setMarkets(null);
    look<{ markets: Market[] }>(`/markets?cpu=${cpu}&memory=${memory}&storage=${storage}`).then(
      (found) => isOver || (setMarkets(found.markets), setWhy("")),
      (error: Error) => isOver || setWhy(error.message),
    );
    return () => void (isOver = true);
  }, [sized]);
  useEffect(() => {
    if (link === "live") look<Pricing>("/pricing").then(setPricing, () => setPricing(null));
  }, [link]);
  return (
    <>
      <h1>Markets</h1>
      <ul class="issues">
        {node?.summary.adverts.map((advert) => (
          <Kept advert={advert} key={advert.place} />
        ))}
        {node?.summary.adverts.length === 0 && <li>The node keeps no advert: renters do not find it in a market.</li>}
      </ul>
      <h2>As renters see it</h2>
      <p class="buttons">
        <label>
          For a VM that is{" "}
          <select value={sized} onChange={(event) => setSized(event.currentTarget.value as keyof typeof SIZES)}>
            {Object.entries(SIZES).map(([name, [cpu, memory, storage]]) => (
              <option value={name} key={name}>
                {name} ({cpu} CPU, {memory} GiB, {storage} GiB)
              </option>
            ))}
          </select>
        </label>
      </p>
      {why && <p class="bad">{why}</p>}
      {markets === null && !why && <p role="status">Asking the markets…</p>}
      {markets?.map((market) => (
        <Seen market={market} key={market.place} />
      ))}
      <h2>Prices</h2>
      {pricing && (
        <>
          <PriceForm pricing={pricing} key={JSON.stringify(pricing.usd)} />
          <p>
            {pricing.glm_usd ? `A GLM is worth ${pricing.glm_usd} USD, ${ago(pricing.rates_at, now())}.` : "No rate of GLM is known."}
          </p>
          <Lines
            heads={["Size", "USD a month", "GLM a month"]}
            rows={pricing.examples.map((example) => [example.size, example.usd_month, example.glm_month ?? "–"])}
          />
        </>
      )}
    </>
  );
}
