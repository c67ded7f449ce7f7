// Withdrawing what has vested, once that was confirmed.

import { call } from "./api";
import { confirm } from "./dialog";
import type { Withdrawn } from "./types";

const WITHDRAWN = { paid: "paid", skipped: "skipped", under_way: "under way", failed: "failed" };

/** Asks, and withdraws what has vested: of one VM, or of all. */
export function withdraw(vm: { id: string; name: string } | null): void {
  const whose = vm ? `the stream of ${vm.name}` : "every stream";
  confirm({
    title: `Withdraw from ${whose}?`,
    lines: [
      `What has vested on ${whose} is sent to the node's wallet, and on to your payout address where one is set.`,
      "That takes a transaction for each stream, which costs gas; streams that are not worth their gas are skipped.",
    ],
    verb: "Withdraw",
    act: async () => {
      const done = await call<Withdrawn[]>("POST", "/withdrawals", { vm: vm?.id ?? null });
      if (done.length === 0) return "There is no stream to withdraw from.";
      return done.map(({ vm_id, outcome, error }) => `${vm_id}: ${WITHDRAWN[outcome]}${error ? ` (${error})` : ""}`).join("; ");
    },
  });
}
