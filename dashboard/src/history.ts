// What is drawn over time: samples that this page took since it was opened, and what the node keeps, brought into the same form.

import type { Count, NodeEvent } from "./types";

/** Seconds, and a number or nothing for each of them, as uPlot takes them. */
export type Series = [times: number[], ...numbers: (number | null)[][]];

/** Samples that are kept: half an hour of one a second. */
const MOST = 1800;

/** CPU, memory and storage of the host, in percent. */
const host: Series = [[], [], [], []];

/** Of each VM: CPU in percent of one core, memory and disk in bytes, bytes a second in and out. */
const vms = new Map<string, Series>();
const last = new Map<string, { at: number; count: Count }>();

function add(series: Series, at: number, numbers: (number | null)[]): void {
  const times = series[0];
  if (times.length > 0 && at <= times[times.length - 1]!) return;
  times.push(at);
  const lists = series.slice(1) as (number | null)[][];
  numbers.forEach((number, index) => lists[index]!.push(number));
  if (times.length > MOST) for (const list of series) list.shift();
}

export function sampleHost({ summary }: NodeEvent, time: number): void {
  const { cpu_percent, memory_percent, storage_percent } = summary.host;
  add(host, time / 1000, [cpu_percent, memory_percent, storage_percent]);
}

export function sampleVms(of: Record<string, Count>, time: number): void {
  const at = time / 1000;
  for (const [id, count] of Object.entries(of)) {
    const before = last.get(id);
    last.set(id, { at, count });
    if (!before || at <= before.at) continue;
    // A counter that went back begins anew, with another process.
    const rate = (index: number): number | null =>
      count[index]! < before.count[index]! ? null : (count[index]! - before.count[index]!) / (at - before.at);
    const busy = rate(0);
    let series = vms.get(id);
    if (!series) vms.set(id, (series = [[], [], [], [], [], []]));
    add(series, at, [busy === null ? null : busy / 10, count[1], count[2], rate(3), rate(4)]);
  }
}

/** Forgets all VMs but these. */
export function keep(now: Map<string, unknown>): void {
  for (const map of [vms, last]) for (const id of map.keys()) if (!now.has(id)) map.delete(id);
}

export const ofHost = (): Series => host;

export const ofVm = (id: string): Series | undefined => vms.get(id);

/** The newest number of a VM's series `index`. */
export function latest(id: string, index: number): number | null {
  const list = vms.get(id)?.[index];
  return list && list.length > 0 ? list[list.length - 1]! : null;
}

/** What the node keeps: lists of equal length, one number for each step in which there was something to measure. */
export type Kept = { step_seconds: number; at: number[] } & { [column: string]: (number | null)[] };

/** Some of its columns, each multiplied; where steps are missing, the line is interrupted. */
export function fromKept(told: Kept, columns: [name: string, part: number][]): Series {
  const series: Series = [[], ...columns.map(() => [] as (number | null)[])];
  const push = (at: number, numbers: (number | null)[]): void => {
    series[0].push(at);
    numbers.forEach((number, index) => (series[index + 1] as (number | null)[]).push(number));
  };
  told.at.forEach((at, place) => {
    const before = told.at[place - 1];
    if (before !== undefined && at - before > told.step_seconds) push(before + told.step_seconds, columns.map(() => null));
    push(
      at,
      columns.map(([name, part]) => {
        const number = told[name]![place]!;
        return number === null ? null : number * part;
      }),
    );
  });
  return series;
}
