// The ports as a grid: which are a VM's, and which renters can reach.

import { call, segment } from "../api";
import { confirm } from "../dialog";
import { ago } from "../format";
import { useLooks } from "../looks";
import { now, useStore } from "../store";
import { Fixes, Words } from "../text";
import type { Port, Ports } from "../types";

const EVERY = 3000;
const REACH = { reachable: "reachable", unreachable: "not reachable", unknown: "not known" };

function verify(): void {
  confirm({
    title: "Verify the ports?",
    lines: ["Check servers are asked to connect to each port from outside. That takes up to a minute; VMs run on."],
    verb: "Verify",
    act: async () => {
      await call("POST", "/ports");
      return "The verification has begun; the grid shows what it finds.";
    },
  });
}

const words = (port: Port, vm: string | undefined): string =>
  [`${port.port}: ${REACH[port.status]}`, vm ? `of ${vm}` : port.in_use ? "in use" : undefined, port.reason_detail ?? port.reason, port.local_detail]
    .filter((text) => text)
    .join(", ");

export function PortsView() {
  const { vms } = useStore();
  const [ports, why] = useLooks<Ports>("/ports", EVERY);
  if (!ports) {
    return (
      <>
        <h1>Ports</h1>
        {why ? <p class="bad">{why}</p> : <p role="status">Asking the node…</p>}
      </>
    );
  }
  const of = new Map([...vms.values()].map((vm) => [vm.ssh_port, vm]));
  const count = (status: Port["status"]): number => ports.ssh.filter((port) => port.status === status).length;
  return (
    <>
      <h1>Ports</h1>
      {why && <p class="bad">{why}</p>}
      <dl class="facts">
        <dt>Public address</dt>
        <dd>{ports.address ?? "not known"}</dd>
        <dt>API</dt>
        <dd class={ports.provider.status}>{words(ports.provider, undefined)}</dd>
        <dt>SSH ports</dt>
        <dd>
          {ports.ssh.length}: {count("reachable")} reachable, {count("unreachable")} not, {count("unknown")} not known
        </dd>
        <dt>Verified</dt>
        <dd>{ports.checking ? "now" : ago(ports.checked_at, now())}</dd>
      </dl>
      <p class="buttons">
        <button type="button" onClick={verify}>
          Verify now
        </button>
      </p>
      <ul class="issues">
        {ports.problems.map((problem) => (
          <li key={problem.what + problem.ports}>
            <Words text={problem.what} />
            <Fixes fixes={problem.fixes} more={problem.help} />
          </li>
        ))}
      </ul>
      <ul class="legend" aria-label="What the colours mean">
        <li class="port reachable">reachable</li>
        <li class="port unreachable">not reachable</li>
        <li class="port unknown">not known</li>
        <li class="port unknown used">a VM's</li>
      </ul>
      <ul class="ports" aria-label="SSH ports">
        {ports.ssh.map((port) => {
          const vm = of.get(port.port);
          const text = words(port, vm?.name);
          return (
            <li key={port.port} class={`port ${port.status}${port.in_use ? " used" : ""}`} title={text}>
              {vm ? (
                <a href={`#vms/${segment(vm.id)}`} aria-label={text}>
                  {port.port}
                </a>
              ) : (
                <>
                  {port.port}
                  <span class="unseen"> {REACH[port.status]}</span>
                </>
              )}
            </li>
          );
        })}
      </ul>
    </>
  );
}
