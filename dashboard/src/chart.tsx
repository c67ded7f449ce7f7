// Lines and bars over time, drawn by uPlot in the colours of the page; beside it, the same in words.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Series } from "./history";

const HEIGHT = 160;

/** Least spans of time, in seconds. */
const LEAST = 60;
const DAY = 86_400;
const FEW = 10 * DAY;

interface Props {
  title: string;
  names: string[];
  /** Which of the series are drawn. */
  of: number[];
  data: Series;
  write: (number: number) => string;
  bars?: boolean;
  /** The largest number of the axis, where it is known. */
  most?: number;
}

const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function options({ names, write, bars, most }: Props, width: number): uPlot.Options {
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const colours = ["--series-1", "--series-2", "--series-3"].map(colour);
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: {
        time: true,
        range: (_, first, last) => (bars ? [Math.min(first, last - FEW) - DAY, last + DAY] : [Math.min(first, last - LEAST), last]),
      },
      y: { range: (_, __, top) => [0, most ?? Math.max(top * 1.1, 1)] },
    },
    axes: [axis, { ...axis, size: 70, values: (_, ticks) => ticks.map(write) }],
    series: [
      {},
      ...names.map((label, index) => {
        const stroke = colours[index] ?? colour("--text");
        return {
          label,
          stroke,
          width: 2,
          points: { show: false },
          ...(bars ? { fill: stroke, width: 0, paths: uPlot.paths.bars!({ size: [0.6, 60], align: index === 0 ? 1 : -1 }) } : {}),
        };
      }),
    ],
  };
}

const pick = ({ data, of }: Props): uPlot.AlignedData => [data[0], ...of.map((index) => data[index]!)] as uPlot.AlignedData;

export function Chart(props: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const current = useRef(props);
  current.current = props;
  useEffect(() => {
    const element = place.current!;
    const draw = (): void => {
      plot.current?.destroy();
      plot.current = new uPlot(options(current.current, element.clientWidth), pick(current.current), element);
    };
    draw();
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", draw);
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    resized.observe(element);
    return () => {
      scheme.removeEventListener("change", draw);
      resized.disconnect();
      plot.current?.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(pick(props)));
  const words = props.names.map((name, index) => {
    const list = props.data[props.of[index]!]!;
    const number = list[list.length - 1];
    return `${name}: ${number === null || number === undefined ? "nothing yet" : props.write(number)}`;
  });
  return (
    <figure class="chart">
      <figcaption>
        {props.title}
        {words.map((text, index) => (
          <span class={`key key-${index + 1}`} key={text}>
            {text}
          </span>
        ))}
      </figcaption>
      <div ref={place} role="img" aria-label={`${props.title}: ${words.join(", ")}`} />
    </figure>
  );
}
