/** Pictures of a simulation for a terminal. */
import { DAY_MS } from "./importance.ts";
import type { SimulatedDay } from "./simulate.ts";

export interface DrawingOptions {
  readonly host: string;
  readonly startMs: number;
  readonly days: number;
  readonly everyMs: number;
  readonly discBytes: number | undefined;
  /** Characters across for the time in which snapshots were taken. */
  readonly columns: number;
  /** A line for each so many days. */
  readonly everyDays: number;
}

/**
 * A line for every so many days: which snapshots stand then. From left to right is the time when they were taken; the
 * darker a place, the more of the snapshots taken in that time still stand.
 */
export function drawStandingSnapshots(simulated: readonly SimulatedDay[], options: DrawingOptions): string {
  const { host, startMs, days, everyMs, discBytes, columns, everyDays } = options;
  const columnMs = (days * DAY_MS) / columns;
  // Backups until a moment, as the simulation makes them: the first after half an interval.
  const takenUntil = (timeMs: number) => Math.max(0, Math.floor((timeMs - startMs) / everyMs + 0.5));
  const lines = simulated
    .filter(({ day }) => (day + 1) % everyDays === 0 || day === days - 1)
    .map(({ day, endMs, usedBytes, standing }) => {
      const counts = Array.from({ length: Math.ceil((endMs - startMs) / columnMs) }, () => 0);
      const times = standing.get(host) ?? [];
      for (const timeMs of times) counts[Math.min(Math.floor((timeMs - startMs) / columnMs), counts.length - 1)]++;
      const picture = counts
        .map((count, column) => {
          const fromMs = startMs + column * columnMs;
          return shade(count / (takenUntil(Math.min(fromMs + columnMs, endMs)) - takenUntil(fromMs)));
        })
        .join("");
      const used = discBytes === undefined ? "" : `${Math.round((100 * usedBytes) / discBytes)} %`.padStart(6);
      return `${String(day + 1).padStart(5)} │${picture.padEnd(columns)}│${String(times.length).padStart(5)}${used}`;
    });
  const head = `  day │${"taken: from the first day to the last".padEnd(columns)}│stand${discBytes === undefined ? "" : "  used"}`;
  const legend = `share of the snapshots taken that stand: · under a tenth  ░ under a third  ▒ under two thirds  ▓ most  █ all`;
  return [head, ...lines, legend].join("\n");
}

function shade(share: number): string {
  if (!(share > 0)) return " ";
  return share < 0.1 ? "·" : share < 1 / 3 ? "░" : share < 2 / 3 ? "▒" : share < 0.95 ? "▓" : "█";
}

/** How dense snapshots stand at some distance from now. */
export interface AgeBand {
  /** For people: `up to a week`. */
  readonly name: string;
  readonly count: number;
  /** Longest time without a snapshot that touches this band; undefined where the history is too short to reach it. */
  readonly widestGapMs: number | undefined;
}

/** For each age, how many snapshots stand and the widest gap between two neighbours. */
export function describeByAge(timesMs: readonly number[], nowMs: number): AgeBand[] {
  const ages = [0, ...timesMs.map((timeMs) => nowMs - timeMs).toSorted((a, b) => a - b)];
  return AGE_BANDS.map(({ name, fromDays, toDays }) => {
    const [fromMs, toMs] = [fromDays * DAY_MS, toDays * DAY_MS];
    const gaps = ages.slice(1).flatMap((age, index) => (age > fromMs && ages[index] < toMs ? [age - ages[index]] : []));
    return {
      name,
      count: timesMs.filter((timeMs) => nowMs - timeMs > fromMs && nowMs - timeMs <= toMs).length,
      widestGapMs: gaps.length === 0 ? undefined : Math.max(...gaps),
    };
  });
}

const AGE_BANDS = [
  { name: "up to a week", fromDays: -Infinity, toDays: 7 },
  { name: "a week to four", fromDays: 7, toDays: 28 },
  { name: "four weeks to a quarter", fromDays: 28, toDays: 91 },
  { name: "a quarter to a year", fromDays: 91, toDays: 365 },
  { name: "more than a year", fromDays: 365, toDays: Infinity },
] as const;
