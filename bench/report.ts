/** Holds what was measured against the bars, and writes both down. */
import { arch, cpus, release, totalmem } from "node:os";
import { median, outputOf } from "./measure.ts";
import type { CacheState, Phase, Sample } from "./scenarios.ts";

type Measure = "wallSeconds" | "peakMemoryBytes" | "repositoryBytes";

interface Bar {
  readonly data: string;
  readonly phase: Phase;
  readonly measure: Measure;
  /** Holdfast's median may be at most `factor` × that of this program, or at most `limit` by itself. */
  readonly against?: string;
  readonly factor?: number;
  readonly limit?: number;
}

const MEBIBYTE = 1024 * 1024;
const LARGE = ["image", "sql", "random"];

const BARS: readonly Bar[] = [
  { data: "kernel", phase: "first", measure: "wallSeconds", against: "tar | zstd -3 -T0", factor: 1.0 },
  { data: "kernel", phase: "first", measure: "wallSeconds", against: "restic", factor: 0.33 },
  { data: "kernel", phase: "first", measure: "wallSeconds", against: "borg", factor: 0.25 },
  { data: "kernel", phase: "first", measure: "repositoryBytes", against: "restic", factor: 0.8 },
  { data: "kernel", phase: "again", measure: "wallSeconds", against: "restic", factor: 0.25 },
  { data: "kernel", phase: "again", measure: "wallSeconds", against: "borg", factor: 0.25 },
  { data: "kernel", phase: "again", measure: "wallSeconds", against: "rsync -a --link-dest", factor: 0.5 },
  { data: "kernel", phase: "restore", measure: "wallSeconds", against: "restic", factor: 0.5 },
  { data: "kernel", phase: "restore", measure: "wallSeconds", against: "cp -a", factor: 1.2 },
  ...LARGE.flatMap((data): Bar[] => [
    { data, phase: "first", measure: "wallSeconds", against: "restic", factor: 0.6 },
    { data, phase: "restore", measure: "wallSeconds", against: "restic", factor: 0.5 },
  ]),
  ...["kernel", ...LARGE].map((data): Bar => ({
    data,
    phase: "first",
    measure: "peakMemoryBytes",
    limit: 250 * MEBIBYTE,
  })),
];

interface BarResult {
  readonly work: string;
  readonly bar: string;
  readonly measured: string;
  readonly met: boolean;
}

/** Each bar for which both sides were measured. */
function holdAgainstBars(samples: readonly Sample[], cache: CacheState): BarResult[] {
  return BARS.flatMap((bar) => {
    const of = (contender: string): number | undefined => medianOf(samples, { ...bar, cache, contender }, bar.measure);
    const own = of("holdfast");
    if (own === undefined) return [];
    const work = `${bar.data}: ${PHASE_NAMES[bar.phase]}, ${MEASURE_NAMES[bar.measure]}`;
    if (bar.limit !== undefined) {
      const met = own <= bar.limit;
      return [{ work, bar: `≤ ${format(bar.limit, bar.measure)}`, measured: format(own, bar.measure), met }];
    }
    const other = bar.against === undefined ? undefined : of(bar.against);
    if (other === undefined || bar.factor === undefined) return [];
    const measured = `${(own / other).toFixed(2)} × (${format(own, bar.measure)} : ${format(other, bar.measure)})`;
    return [{ work, bar: `≤ ${bar.factor} × ${bar.against}`, measured, met: own <= other * bar.factor }];
  });
}

const PHASE_NAMES: Readonly<Record<Phase, string>> = {
  first: "first backup",
  again: "unchanged again",
  restore: "restore",
};

const MEASURE_NAMES: Readonly<Record<Measure, string>> = {
  wallSeconds: "time",
  peakMemoryBytes: "peak memory",
  repositoryBytes: "repository",
};

function format(value: number, measure: Measure): string {
  return measure === "wallSeconds" ? `${value.toFixed(2)} s` : `${Math.round(value / MEBIBYTE)} MiB`;
}

function medianOf(
  samples: readonly Sample[],
  of: { data: string; phase: Phase; cache: CacheState; contender: string },
  measure: Measure | "cpuSeconds",
): number | undefined {
  const values = samples
    .filter((sample) => sample.data === of.data && sample.phase === of.phase)
    .filter((sample) => sample.cache === of.cache && sample.contender === of.contender)
    .flatMap((sample) => sample[measure] ?? []);
  return values.length === 0 ? undefined : median(values);
}

/** Two tables as Markdown for each state of the page cache: the bars, and the medians that they come from. */
export function markdownReport(samples: readonly Sample[], machine: string): string {
  const caches = (["warm", "cold"] as const).filter((cache) => samples.some((sample) => sample.cache === cache));
  const parts = caches.map((cache) => {
    const bars = holdAgainstBars(samples, cache).map(
      ({ work, bar, measured, met }) =>
        `| ${work} | ${bar.replace("|", "\\|")} | ${measured} | ${met ? "✓" : "**miss**"} |`,
    );
    return [
      `### Page cache ${cache}`,
      "",
      "| work | bar | measured | |",
      "| --- | --- | --- | --- |",
      ...bars,
      "",
      "| work | program | time | CPU | peak memory | repository |",
      "| --- | --- | --: | --: | --: | --: |",
      ...medianRows(samples, cache),
    ].join("\n");
  });
  return `${machine}\n\n${parts.join("\n\n")}\n`;
}

function medianRows(samples: readonly Sample[], cache: CacheState): string[] {
  const keys = new Map(
    samples
      .filter((sample) => sample.cache === cache)
      .map((sample) => [`${sample.data}|${sample.phase}|${sample.contender}`, sample]),
  );
  return Array.from(keys.values(), (key) => {
    const cell = (measure: Measure): string => {
      const value = medianOf(samples, key, measure);
      return value === undefined ? "" : format(value, measure);
    };
    const cpu = medianOf(samples, key, "cpuSeconds") ?? 0;
    const work = `${key.data}: ${PHASE_NAMES[key.phase]}`;
    const name = key.contender.replaceAll("|", "\\|");
    return `| ${work} | ${name} | ${cell("wallSeconds")} | ${cpu.toFixed(2)} s | ${cell("peakMemoryBytes")} | ${cell("repositoryBytes")} |`;
  });
}

/** One line: when, on what, with which versions. */
export async function describeMachine(folder: string, rounds: number): Promise<string> {
  const versions = await Promise.all(
    [
      ["restic", "version"],
      ["borg", "--version"],
      ["rsync", "--version"],
      ["zstd", "--version"],
    ].map(async (argv) => `${argv[0]} ${/\d+\.\d+(\.\d+)?/.exec(await outputOf(argv))?.[0] ?? "?"}`),
  );
  const fileSystem = (await outputOf(["stat", "-f", "-c", "%T", folder])).trim();
  const commit = (
    await outputOf(["git", "-C", import.meta.dirname, "rev-parse", "--short", "HEAD"]).catch(() => "")
  ).trim();
  const processors = cpus();
  return (
    `Measured on ${new Date().toISOString().slice(0, 10)}: ${processors.length} × ${processors[0].model} (${arch()}), ` +
    `${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, ${fileSystem}; Node ${process.versions.node}, ` +
    `${versions.join(", ")}${commit === "" ? "" : `; commit ${commit}`}; medians of ${rounds} rounds.`
  );
}
