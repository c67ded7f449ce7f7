// Over which time charts go: what this page saw itself, or what the node kept of the last day or month.

import { useEffect, useState } from "preact/hooks";
import { look } from "./api";
import { fromKept, type Kept, type Series } from "./history";

export type Span = "live" | "minute" | "hour";

const SPANS: [span: Span, name: string][] = [
  ["live", "Since this page was opened"],
  ["minute", "Day"],
  ["hour", "Month"],
];

/** Milliseconds between two looks at what the node keeps: it keeps something once a minute. */
const AGAIN = 60_000;

// The same for all charts of this page.
let chosen: Span = "live";

interface Shown {
  span: Span;
  choose: (span: Span) => void;
  /** Nothing yet, or nothing there. */
  data: Series | undefined;
  problem: string;
}

/** What is drawn of `path`, whose `columns` the node keeps; `live` is what this page saw. */
export function useSpan(path: string, columns: [name: string, part: number][], live: Series | undefined): Shown {
  const [span, setSpan] = useState(chosen);
  const [kept, setKept] = useState<{ of: string; data: Series } | null>(null);
  const [problem, setProblem] = useState("");
  const of = `${path}/history/${span}`;
  useEffect(() => {
    setProblem("");
    if (span === "live") return;
    let over = false;
    const ask = (): void => {
      look<Kept>(of).then(
        (told) => {
          if (over) return;
          setKept({ of, data: fromKept(told, columns) });
          setProblem("");
        },
        (error: Error) => over || setProblem(error.message),
      );
    };
    ask();
    const timer = setInterval(ask, AGAIN);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, [of]);
  const choose = (next: Span): void => {
    chosen = next;
    setSpan(next);
  };
  const there = kept?.of === of && kept.data[0].length > 0 ? kept.data : undefined;
  return { span, choose, data: span === "live" ? live : there, problem };
}

export function Spans({ span, choose, problem }: Shown) {
  return (
    <>
      <p class="buttons" role="group" aria-label="Time of the charts">
        {SPANS.map(([of, name]) => (
          <button type="button" key={of} aria-pressed={of === span} onClick={() => choose(of)}>
            {name}
          </button>
        ))}
      </p>
      {problem && <p class="bad">{problem}</p>}
    </>
  );
}
