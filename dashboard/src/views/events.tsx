// What happened to rentals, and what the node said of it: events and the log.

import { useEffect, useRef, useState } from "preact/hooks";
import { look } from "../api";
import { ago, time } from "../format";
import { useLooks } from "../looks";
import { now, useStore } from "../store";
import { Lines } from "../text";
import type { Happening, LogLine } from "../types";

export function Happenings({ events }: { events: Happening[] }) {
  const row = (event: Happening): string[] => [ago(event.at, now()), event.vm_id, event.kind, event.detail];
  return <Lines heads={["When", "VM", "What", "More"]} rows={events.map(row)} link={1} />;
}

const EVERY = 5000;

export function EventsView() {
  useStore();
  const [events = [], why] = useLooks<Happening[]>("/events", EVERY);
  return (
    <>
      <h1>Events</h1>
      {why && <p class="bad">{why}</p>}
      <Happenings events={events} />
    </>
  );
}

const LINES = 1000;
const LOG_EVERY = 2000;
const LEVELS = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
const OWN = new Set(["timestamp", "level", "message", "target"]);

const text = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

function rest(line: LogLine): string {
  const fields = Object.entries(line).filter(([name]) => !OWN.has(name));
  return fields.map(([name, value]) => `${name}=${text(value)}`).join(" ");
}

export function LogsView() {
  const [lines, setLines] = useState<LogLine[]>([]);
  const [level, setLevel] = useState("INFO");
  const [audit, setAudit] = useState(false);
  const [why, setWhy] = useState("");
  const count = useRef(0);
  useEffect(() => {
    const load = async (): Promise<void> => {
      try {
        const found = await look<{ count: number; lines: LogLine[] }>(`/log?after=${count.current}`);
        // One that counts less is another process.
        const isNew = found.count < count.current;
        count.current = found.count;
        setWhy("");
        if (found.lines.length > 0 || isNew) {
          setLines((before) => [...(isNew ? [] : before), ...found.lines].slice(-LINES));
        }
      } catch (error) {
        setWhy(error instanceof Error ? error.message : String(error));
      }
    };
    void load();
    const timer = setInterval(load, LOG_EVERY);
    return () => clearInterval(timer);
  }, []);
  const shown = lines.filter((line) =>
    audit ? line["target"] === "audit" : LEVELS.indexOf(text(line["level"])) <= LEVELS.indexOf(level),
  );
  return (
    <>
      <h1>Logs</h1>
      <p>The node's last lines. Those of a VM stand with the VM.</p>
      <p class="buttons">
        <label>
          From{" "}
          <select value={level} disabled={audit} onChange={(event) => setLevel(event.currentTarget.value)}>
            {LEVELS.slice(0, 4).map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <label>
          <input type="checkbox" checked={audit} onChange={(event) => setAudit(event.currentTarget.checked)} /> only who changed
          what (audit)
        </label>
      </p>
      {why && <p class="bad">{why}</p>}
      <div class="log" role="log" tabIndex={0} aria-label="Log lines, newest first">
        {shown.length === 0 && <p>Nothing was said yet.</p>}
        {shown.toReversed().map((line, index) => (
          <div key={shown.length - index} class={`line ${text(line["level"])}`}>
            <span class="faint">{time(text(line["timestamp"]))}</span> <strong>{text(line["level"])}</strong>{" "}
            {text(line["message"] ?? "")} <span class="faint">{rest(line)}</span>
          </div>
        ))}
      </div>
    </>
  );
}
