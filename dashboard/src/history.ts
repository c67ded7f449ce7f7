// What is drawn over time. Kept here, since the page was opened; this is the one place that would ask the node for what was
// before, once it keeps that.

import type { NodeEvent, Vm } from "./types";

/** Seconds, and a number or nothing for each of them, as uPlot takes them. */
export type Series = [times: number[], ...numbers: (number | null)[][]];

/** Samples that are kept: half an hour of one a second. */
const MOST = 1800;

/** Of so many VMs at most, those that changed last. */
const VMS = 1000;

/** CPU, memory and storage of the host, in percent. */
const host: Series = [[], [], [], []];

/** Of each VM: CPU in percent of one core, memory and disk in bytes, bytes a second in and out. */
const vms = new Map<string, Series>();
const last = new Map<string, { at: number; cpu: number; in: number; out: number }>();

function add(series: Series, at: number, numbers: (number | null)[]): void {
  const times = series[0];
  if (times.length > 0 && at <= times[times.length - 1]!) return;
  times.push(at);
  const lists = series.slice(1) as (number | null)[][];
  numbers.forEach((number, index) => lists[index]!.push(number));
  if (times.length > MOST) for (const list of series) list.shift();
}

/** Bytes into and out of the VM's guest, of all its network, or else of its SSH port. */
export function bytes(vm: Vm): { in: number; out: number } | null {
  const all = vm.network;
  if (all?.bytes_in !== undefined && all.bytes_out !== undefined) {
    return { in: all.bytes_in, out: all.bytes_out };
  }
  return vm.traffic && { in: vm.traffic.bytes_in, out: vm.traffic.bytes_out };
}

export function sample(node: NodeEvent | null, now: Map<string, Vm>, time: number): void {
  const at = time / 1000;
  if (node) {
    const { cpu_percent, memory_percent, storage_percent } = node.summary.host;
    add(host, at, [cpu_percent, memory_percent, storage_percent]);
  }
  for (const vm of now.values()) {
    const moved = bytes(vm) ?? { in: 0, out: 0 };
    const cpu = vm.usage?.cpu_ms ?? 0;
    const before = last.get(vm.id);
    if (before && at - before.at < 0.9) continue;
    last.set(vm.id, { at, cpu, ...moved });
    if (!before || !vm.usage) continue;
    const rate = (to: number, from: number): number | null => (to < from ? null : (to - from) / (at - before.at));
    const busy = rate(cpu, before.cpu);
    if (!vms.has(vm.id) && vms.size >= VMS) continue;
    const series = vms.get(vm.id) ?? [[], [], [], [], [], []];
    vms.set(vm.id, series as Series);
    const numbers = [
      busy === null ? null : busy / 10,
      vm.usage.memory_bytes,
      vm.usage.disk_bytes,
      rate(moved.in, before.in),
      rate(moved.out, before.out),
    ];
    add(series as Series, at, numbers);
  }
  for (const id of vms.keys()) if (!now.has(id)) vms.delete(id);
  for (const id of last.keys()) if (!now.has(id)) last.delete(id);
}

export const ofHost = (): Series => host;

export const ofVm = (id: string): Series | undefined => vms.get(id);

/** The newest number of a VM's series `index`. */
export function latest(id: string, index: number): number | null {
  const list = vms.get(id)?.[index];
  return list && list.length > 0 ? list[list.length - 1]! : null;
}
