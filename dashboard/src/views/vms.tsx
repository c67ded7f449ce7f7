// The VMs: a list that pages, so that a thousand are no more than fifty; and one of them, with all that is known of it.

import { useEffect, useState } from "preact/hooks";
import { call, look, segment } from "../api";
import { Chart } from "../chart";
import { confirm } from "../dialog";
import { ago, owner, percent, rate, size, span, time } from "../format";
import { latest, ofVm } from "../history";
import { Spans, useSpan } from "../span";
import { now, useStore } from "../store";
import { Words } from "../text";
import type { Happening, Logs, Vm } from "../types";
import { withdraw } from "../withdraw";
import { Happenings } from "./events";

const PAGE = 50;

/** What the node keeps of a VM, in the order and units of the live charts. */
const KEPT: [name: string, part: number][] = [
  ["cpu_permille", 0.1],
  ["memory_bytes", 1],
  ["disk_bytes", 1],
  ["received_per_second", 1],
  ["sent_per_second", 1],
];

type Column = { name: string; of: (vm: Vm) => string | number; text: (vm: Vm) => string };

/** Seconds for which it is still paid. */
const left = (vm: Vm): number => (vm.paid_until === null ? Infinity : (Date.parse(vm.paid_until) - now()) / 1000);

const runway = (vm: Vm): string =>
  vm.unpaid_since ? `unpaid since ${ago(vm.unpaid_since, now())}` : vm.paid_until === null ? "–" : span(Math.max(0, left(vm)));

const measured = (vm: Vm, index: number): number | null => (vm.status === "running" ? latest(vm.id, index) : null);

const age = (vm: Vm): number => (now() - Date.parse(vm.created_at)) / 1000;

const COLUMNS: Column[] = [
  { name: "Name", of: (vm) => vm.name, text: (vm) => vm.name },
  { name: "State", of: (vm) => vm.status, text: (vm) => (vm.held ? `${vm.status}, held` : vm.status) },
  { name: "Owner", of: (vm) => vm.owner, text: (vm) => owner(vm.owner) },
  { name: "Age", of: age, text: (vm) => span(age(vm)) },
  { name: "Runway", of: left, text: runway },
  { name: "CPU", of: (vm) => measured(vm, 1) ?? -1, text: (vm) => percent(measured(vm, 1)) },
  { name: "Memory", of: (vm) => measured(vm, 2) ?? -1, text: (vm) => size(measured(vm, 2)) },
  { name: "Disk", of: (vm) => measured(vm, 3) ?? -1, text: (vm) => size(measured(vm, 3)) },
  { name: "In", of: (vm) => measured(vm, 4) ?? -1, text: (vm) => rate(measured(vm, 4)) },
  { name: "Out", of: (vm) => measured(vm, 5) ?? -1, text: (vm) => rate(measured(vm, 5)) },
];

function compare(one: string | number, other: string | number): number {
  return typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
}

export function VmsView() {
  const { vms } = useStore();
  const [word, setWord] = useState("");
  const [page, setPage] = useState(0);
  const [sorted, setSorted] = useState<[number, 1 | -1]>([3, 1]);
  const wanted = word.toLowerCase();
  const fits = (vm: Vm): boolean =>
    [vm.name, vm.id, vm.owner, vm.status, String(vm.ssh_port)].some((text) => text.toLowerCase().includes(wanted));
  const [by, way] = sorted;
  const column = COLUMNS[by]!;
  const all = [...vms.values()].filter(fits).sort((one, other) => way * compare(column.of(one), column.of(other)));
  const pages = Math.max(1, Math.ceil(all.length / PAGE));
  const here = Math.min(page, pages - 1);
  const shown = all.slice(here * PAGE, (here + 1) * PAGE);
  return (
    <>
      <h1>VMs ({vms.size})</h1>
      <p class="buttons">
        <label>
          Search <input type="search" value={word} onInput={(event) => setWord(event.currentTarget.value)} />
        </label>
        <span role="status">
          {all.length === 0 ? "none" : `${here * PAGE + 1}–${here * PAGE + shown.length} of ${all.length}`}
        </span>
        <button type="button" disabled={here === 0} onClick={() => setPage(here - 1)}>
          Back
        </button>
        <button type="button" disabled={here === pages - 1} onClick={() => setPage(here + 1)}>
          Next
        </button>
      </p>
      {vms.size === 0 && <p>Nothing is rented.</p>}
      {shown.length > 0 && (
        <table class="list" role="table">
          <thead role="rowgroup">
            <tr role="row">
              {COLUMNS.map(({ name }, index) => (
                <th key={name} role="columnheader" scope="col" aria-sort={index !== by ? "none" : way === 1 ? "ascending" : "descending"}>
                  <button type="button" onClick={() => setSorted([index, index === by && way === 1 ? -1 : 1])}>
                    {name}
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {shown.map((vm) => (
              <tr key={vm.id} role="row">
                {COLUMNS.map(({ name, text }, index) => (
                  <td key={name} role="cell" data-label={name} class={index === 1 ? `state ${vm.status}` : undefined}>
                    {index === 0 ? <a href={`#vms/${segment(vm.id)}`}>{text(vm)}</a> : text(vm)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

const RUNS = new Set(["running"]);

function act(vm: Vm, action: "start" | "stop" | "restart"): void {
  const lines = {
    start: [`${vm.name} boots; its renter can log in again.`],
    stop: [`${vm.name} is shut down; its renter cannot log in meanwhile, and goes on paying.`, "Its disk, name and port stay its own. It stays stopped until it is started again."],
    restart: [`${vm.name} is shut down and booted again; its renter's sessions end.`],
  };
  confirm({
    title: `${action[0]!.toUpperCase()}${action.slice(1)} ${vm.name}?`,
    lines: lines[action],
    verb: action[0]!.toUpperCase() + action.slice(1),
    act: async () => {
      const after = await call<Vm>("POST", `/vms/${segment(vm.id)}/${action}`);
      return `${vm.name} is ${after.status}.`;
    },
  });
}

function remove(vm: Vm): void {
  confirm({
    title: `Delete ${vm.name}?`,
    lines: [
      `The rental of ${vm.name} ends, and its disk is gone for ever: its renter loses everything on it.`,
      vm.stream_id === null ? "It was free." : "What has vested on its stream can still be withdrawn; the rest is its renter's.",
    ],
    verb: "Delete it for ever",
    danger: true,
    act: async () => {
      await call("DELETE", `/vms/${segment(vm.id)}`);
      return `${vm.name} is gone.`;
    },
  });
}

function Console({ vm }: { vm: Vm }) {
  const [logs, setLogs] = useState<Logs | null>(null);
  const [why, setWhy] = useState("");
  const load = (): void => {
    look<Logs>(`/vms/${segment(vm.id)}/logs`).then(
      (found) => (setLogs(found), setWhy("")),
      (error: Error) => setWhy(error.message),
    );
  };
  useEffect(load, [vm.id, vm.status]);
  return (
    <>
      <h2>Logs</h2>
      <p class="buttons">
        <button type="button" onClick={load}>
          Look again
        </button>
      </p>
      {why && <p class="bad">{why}</p>}
      {logs?.failed_boot && (
        <p class="bad">
          A boot failed {ago(logs.failed_boot.at, now())} at {logs.failed_boot.stage}: {logs.failed_boot.cause}
        </p>
      )}
      <h3 id="console">Console</h3>
      <pre tabIndex={0} aria-labelledby="console">{logs?.console || "nothing"}</pre>
      <h3 id="process">Its process</h3>
      <pre tabIndex={0} aria-labelledby="process">{logs?.process_log || "nothing"}</pre>
    </>
  );
}

export function VmView({ id }: { id: string }) {
  const { vms } = useStore();
  const [events, setEvents] = useState<Happening[]>([]);
  const vm = vms.get(id);
  const shown = useSpan(`/vms/${segment(id)}`, KEPT, ofVm(id));
  useEffect(() => {
    if (vm) look<Happening[]>(`/vms/${segment(id)}/events`).then(setEvents, () => setEvents([]));
  }, [id, vm?.updated_at]);
  if (!vm) {
    return (
      <>
        <h1>No such VM</h1>
        <p>
          It is gone, or never was. <a href="#vms">All VMs</a>
        </p>
      </>
    );
  }
  const data = shown.data;
  const runs = RUNS.has(vm.status);
  return (
    <>
      <p>
        <a href="#vms">All VMs</a>
      </p>
      <h1>{vm.name}</h1>
      {vm.error && (
        <p class="bad">
          <Words text={vm.error} />
        </p>
      )}
      <dl class="facts">
        <dt>State</dt>
        <dd class={`state ${vm.status}`}>{vm.held ? `${vm.status}, held: it gave back CPU and memory` : vm.status}</dd>
        <dt>Owner</dt>
        <dd class="mono">{vm.owner}</dd>
        <dt>Id</dt>
        <dd class="mono">{vm.id}</dd>
        <dt>Rented</dt>
        <dd>
          {time(vm.created_at)}, {ago(vm.created_at, now())}
        </dd>
        <dt>Runway</dt>
        <dd>{runway(vm)}</dd>
        <dt>Size</dt>
        <dd>
          {vm.resources.cpu} cores, {vm.resources.memory} GiB memory, {vm.resources.storage} GiB storage, {vm.image}
        </dd>
        <dt>SSH port</dt>
        <dd>
          {vm.ssh_port}
          {vm.traffic ? `, ${vm.traffic.connections_open} connections open` : ", closed"}
        </dd>
        {vm.stream_id !== null && (
          <>
            <dt>Stream</dt>
            <dd>{vm.stream_id}</dd>
          </>
        )}
      </dl>
      <p class="buttons">
        {!runs && (
          <button type="button" onClick={() => act(vm, "start")}>
            Start
          </button>
        )}
        {runs && (
          <>
            <button type="button" onClick={() => act(vm, "stop")}>
              Stop
            </button>
            <button type="button" onClick={() => act(vm, "restart")}>
              Restart
            </button>
          </>
        )}
        {vm.stream_id !== null && (
          <button type="button" onClick={() => withdraw(vm)}>
            Withdraw
          </button>
        )}
        <button type="button" class="danger" onClick={() => remove(vm)}>
          Delete
        </button>
      </p>
      <Spans {...shown} />
      {data ? (
        <div class="charts" key={shown.span}>
          <Chart title="CPU, of one core" names={["CPU"]} of={[1]} data={data} write={percent} />
          <Chart title="Memory" names={["memory"]} of={[2]} data={data} write={size} />
          <Chart title="Disk" names={["disk"]} of={[3]} data={data} write={size} />
          <Chart title="Network" names={["in", "out"]} of={[4, 5]} data={data} write={rate} />
        </div>
      ) : (
        <p>{shown.span === "live" ? "Charts begin when it runs and was looked at twice." : "Nothing is known of that time."}</p>
      )}
      <Console vm={vm} />
      <h2>Events</h2>
      <Happenings events={events} />
    </>
  );
}
