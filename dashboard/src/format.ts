// How numbers, times and amounts are written.

import type { Wei } from "./types";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function size(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) return "–";
  let number = bytes;
  let unit = 0;
  while (number >= 1024 && unit < UNITS.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${number < 10 && unit > 0 ? number.toFixed(1) : Math.round(number)} ${UNITS[unit]}`;
}

export const rate = (bytes: number | null | undefined): string =>
  bytes === null || bytes === undefined ? "–" : `${size(bytes)}/s`;

export const percent = (number: number | null | undefined): string =>
  number === null || number === undefined ? "–" : `${Math.round(number)} %`;

/** A span of seconds in its two largest units. */
export function span(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 0) return `in ${span(-seconds)}`;
  const parts: [number, string][] = [
    [86_400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = parts.findIndex(([length]) => seconds >= length);
  if (first < 0) return "0 s";
  let left = Math.floor(seconds);
  const words: string[] = [];
  for (const [length, unit] of parts.slice(first, first + 2)) {
    const count = Math.floor(left / length);
    left -= count * length;
    if (count > 0) words.push(`${count} ${unit}`);
  }
  return words.join(" ");
}

export function ago(at: string | null | undefined, now: number): string {
  if (!at) return "never";
  const seconds = (now - Date.parse(at)) / 1000;
  return seconds < 0 ? `in ${span(-seconds)}` : `${span(seconds)} ago`;
}

export function time(at: string | null | undefined): string {
  if (!at) return "–";
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? at : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** A coin's worth of digits, six of them significant, cut and never rounded up. */
export function coins(wei: Wei, decimals: number): string {
  const digits = BigInt(wei).toString().padStart(decimals + 1, "0");
  const whole = digits.slice(0, digits.length - decimals);
  let fraction = decimals > 0 ? digits.slice(-decimals) : "";
  const leading = whole === "0" ? fraction.length - fraction.replace(/^0+/, "").length : -whole.length;
  fraction = fraction.slice(0, Math.max(0, leading + 6)).replace(/0+$/, "");
  return fraction === "" ? whole : `${whole}.${fraction}`;
}

export function money(wei: Wei, of: { symbol: string; decimals: number; usd_per_coin?: string | null }): string {
  const text = `${coins(wei, of.decimals)} ${of.symbol}`;
  const usd = of.usd_per_coin ? Number(of.usd_per_coin) * (Number(BigInt(wei)) / 10 ** of.decimals) : null;
  return usd === null || !Number.isFinite(usd) ? text : `${text} (${usd.toFixed(2)} USD)`;
}

/** The beginning and the end of an address or an id. */
export const brief = (text: string): string => (text.length > 16 ? `${text.slice(0, 8)}…${text.slice(-5)}` : text);

export const owner = (text: string): string => brief(text.replace(/^(eth|key):/, ""));
