// What the node says: the JSON of `crates/golem-api/src/views` and `crates/golem-api/src/operator/dashboard`, as far as the
// page reads it.

export type Wei = number | bigint;

export interface Resources {
  cpu: number;
  memory: number;
  storage: number;
}

export interface Issue {
  text: string;
  fixes: string[];
  help: string | null;
}

export interface Row {
  word: "rented" | "found" | "reached" | "paid";
  answer: "yes" | "no" | "unknown";
  reason: string;
  fix: string | null;
  by_choice: boolean;
}

export interface Health {
  grade: "healthy" | "issues" | "error";
  issues: Issue[];
  checklist: Row[];
  latest: string | null;
  update_available: boolean;
  wallet: { address: string; symbol: string; balance_wei: Wei | null; error: string | null } | null;
  https: string | null;
}

export interface Endpoint {
  host: string;
  is_well: boolean;
  problem: string | null;
}

export interface Payments {
  network: string;
  symbol: string;
  contract: string;
  block: number | null;
  read_at: string | null;
  error: string | null;
  endpoints: Endpoint[];
}

export interface Advert {
  market: string;
  place: string;
  standing: "starting" | "current" | "hidden" | "problem";
  problem: string | null;
  lapses_at: string | null;
  writes: number;
  cost_wei: Wei;
}

export interface Summary {
  version: string;
  provider_id: string;
  environment: string;
  network: string;
  backend: { name: string; answers: boolean; accelerator: string | null };
  draining: boolean;
  total: Resources;
  free: Resources;
  host: { cpu_percent: number; memory_percent: number; storage_percent: number };
  vms: number;
  max_vms: number;
  ports: { start: number; end: number; in_use: number[] };
  payments: Payments | null;
  other_payments: Payments[];
  payouts: { chain_id: number; wallet: string; to: string; problem: string | null }[];
  transactions: string[];
  adverts: Advert[];
}

export interface Vm {
  id: string;
  name: string;
  status: string;
  error: string | null;
  resources: Resources;
  image: string;
  ip_address: string | null;
  ssh_port: number;
  created_at: string;
  updated_at: string;
  traffic: { connections_open: number } | null;
  stream_id: string | null;
  unpaid_since: string | null;
  held: boolean;
  owner: string;
  paid_until: string | null;
}

/** CPU time in milliseconds, memory and disk in bytes, bytes in and out. */
export type Count = [cpu: number, memory: number, disk: number, into: number, out: number];

export interface UseEvent {
  at: string;
  of: Record<string, Count>;
}

export interface NodeEvent {
  at: string;
  health: Health | null;
  summary: Summary;
}

export interface VmsEvent {
  at: string;
  changed: Vm[];
  gone: string[];
}

export interface Happening {
  at: string;
  vm_id: string;
  kind: string;
  detail: string;
}

export interface Period {
  period: string;
  withdrawals: number;
  earned_wei: Wei;
  received_wei: Wei;
  gas_wei: Wei;
}

export interface Earnings {
  symbol: string;
  decimals: number;
  usd_per_coin: string | null;
  streams: {
    vm_id: string;
    stream_id: Wei;
    symbol: string;
    decimals: number;
    vested_wei: Wei;
    withdrawn_wei: Wei;
    withdrawable_wei: Wei;
  }[];
  totals: Record<
    | "vested_wei"
    | "withdrawn_wei"
    | "withdrawable_wei"
    | "earned_wei"
    | "received_wei"
    | "pending_wei"
    | "gas_wei",
    Wei
  >;
  periods: Period[];
  by_vm: { of: string | null; earned_wei: Wei; received_wei: Wei }[];
  by_renter: { of: string | null; earned_wei: Wei; received_wei: Wei }[];
  forecast: { month: string; earned_wei: Wei; expected_wei: Wei; total_wei: Wei };
}

export interface Withdrawn {
  vm_id: string;
  outcome: "paid" | "skipped" | "under_way" | "failed";
  paid_wei: Wei;
  cost_wei: Wei;
  error: string | null;
}

export interface Port {
  port: number;
  status: "reachable" | "unreachable" | "unknown";
  reason: string | null;
  reason_detail: string | null;
  local_detail: string | null;
  in_use: boolean;
  checked_at: string | null;
}

export interface Ports {
  address: string | null;
  checking: unknown;
  checked_at: string | null;
  sources: { source: string; problem: string | null }[];
  provider: Port;
  ssh: Port[];
  problems: { what: string; fixes: string[]; help: string | null; ports: string }[];
}

export interface Terms {
  provider_id: string;
  name: string;
  country: string;
  platform: string;
  cpu: number;
  memory: number;
  storage: number;
  usd_month: number | null;
  glm_month: number | null;
}

export interface Market {
  market: string;
  place: string;
  error: string | null;
  block: number | null;
  own: (Terms & { key: string | null; lapses_at: string | null; blocks_left: number | null }) | null;
  others: Terms[];
  more: boolean;
  usd_month: {
    own: number;
    others: number;
    lowest: number | null;
    median: number | null;
    cheaper_percent: number | null;
  };
}

export interface Prices {
  per_core: string;
  per_gb_ram: string;
  per_gb_storage: string;
}

export interface Pricing {
  usd: Prices;
  glm: Prices | null;
  glm_usd: string | null;
  streams: Prices | null;
  rates_at: string | null;
  examples: { size: string; resources: Resources; usd_month: string; glm_month: string | null }[];
}

export interface Image {
  name: string;
  aliases: string[];
  bytes: number | null;
  default: boolean;
  can_be_pulled: boolean;
  pull: { done: number; total: number | null; state: "running" | "new" | "same" | "failed"; error: string | null } | null;
}

export interface Logs {
  name: string;
  console: string;
  process_log: string;
  failed_boot: { at: string; stage: string; reason: string; cause: string } | null;
}

export type LogLine = Record<string, unknown>;
