// What is known of the node now, kept up to date by the stream of changes.

import { useEffect, useState } from "preact/hooks";
import { Refused, forget, hasKey, stream } from "./api";
import { keep, sampleHost, sampleVms } from "./history";
import type { NodeEvent, UseEvent, Vm, VmsEvent } from "./types";

export type Link = "live" | "connecting" | "lost" | "out";

interface State {
  link: Link;
  /** Why there is no connection. */
  why: string;
  /** When it is tried again, by this browser's clock. */
  againAt: number;
  node: NodeEvent | null;
  vms: Map<string, Vm>;
  /** The node's clock less this browser's, in milliseconds. */
  skew: number;
}

export const state: State = {
  link: "connecting",
  why: "",
  againAt: 0,
  node: null,
  vms: new Map(),
  skew: 0,
};

const listeners = new Set<() => void>();
let due = false;

/** Draws at most once a frame, however much changes. */
export function changed(): void {
  if (due) return;
  due = true;
  // A page in the background has no frames, and draws when it is looked at again.
  requestAnimationFrame(() => {
    due = false;
    for (const listener of listeners) listener();
  });
}

/** Draws the component anew whenever something changes. */
export function useStore(): State {
  const [, draw] = useState(0);
  useEffect(() => {
    const listener = (): void => draw((count) => count + 1);
    listeners.add(listener);
    // Something may have changed between the first drawing and this.
    listener();
    return () => void listeners.delete(listener);
  }, []);
  return state;
}

/** The node's time now. */
export const now = (): number => Date.now() + state.skew;

const FIRST_WAIT = 500;
const LONGEST_WAIT = 10_000;
let running: AbortController | null = null;

function take(event: string, data: string): void {
  const told: { at: string } = JSON.parse(data);
  state.skew = Date.parse(told.at) - Date.now();
  if (event === "node") {
    state.node = told as NodeEvent;
    sampleHost(state.node, Date.parse(told.at));
  } else if (event === "vms") {
    const vms = told as VmsEvent;
    for (const vm of vms.changed) state.vms.set(vm.id, vm);
    for (const id of vms.gone) state.vms.delete(id);
    keep(state.vms);
  } else if (event === "use") {
    sampleVms((told as UseEvent).of, Date.parse(told.at));
  }
  changed();
}

/** The session is over, or there never was one. */
export function leave(why: string): void {
  forget();
  running?.abort();
  running = null;
  Object.assign(state, { link: "out", why, node: null, vms: new Map() });
  changed();
}

/** Follows the node until the session ends; waits longer and longer between tries. */
export async function follow(): Promise<void> {
  if (!hasKey()) return leave("");
  const mine = new AbortController();
  running = mine;
  let wait = FIRST_WAIT;
  while (running === mine) {
    let isFirst = true;
    try {
      await stream((event, data) => {
        if (running !== mine) return;
        if (isFirst) {
          // The first event of VMs has all of them.
          if (event === "vms") {
            state.vms.clear();
            isFirst = false;
          }
          state.link = "live";
          wait = FIRST_WAIT;
        }
        take(event, data);
      }, mine.signal);
      state.why = "The node is restarting, or not reachable.";
    } catch (error) {
      if (running !== mine) return;
      if (error instanceof Refused && error.status === 401) {
        return leave("Your session is over: it was ended, or is more than 12 hours old.");
      }
      state.why =
        error instanceof Refused ? `${error.message}.` : "The node is restarting, or not reachable.";
    }
    if (running !== mine) return;
    state.link = "lost";
    state.againAt = Date.now() + wait;
    changed();
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}
