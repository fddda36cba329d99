/** What is measured: each piece of work, done in turn by each program, some times over. */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { borg, copy, holdfast, restic, rsyncLinkDest, tarZstd } from "./contenders.ts";
import type { Contender } from "./contenders.ts";
import type { DataOptions } from "./data.ts";
import { fileSystemImage, incompressible, kernelSource, sqlDump } from "./data.ts";
import { measure, run, shell, sizeOnDisc } from "./measure.ts";
import type { Measurement } from "./measure.ts";

export type Phase = "first" | "again" | "restore";
export type CacheState = "warm" | "cold";

/** One program doing one piece of work once. */
export interface Sample extends Measurement {
  readonly data: string;
  readonly phase: Phase;
  readonly cache: CacheState;
  readonly contender: string;
  /** After a first backup; undefined where there is no repository to compare. */
  readonly repositoryBytes: number | undefined;
}

export interface DataSet {
  readonly name: string;
  readonly make: (options: DataOptions) => Promise<string>;
  readonly first: readonly Contender[];
  readonly again: readonly Contender[];
  readonly restore: readonly Contender[];
}

const ARCHIVERS = [holdfast, tarZstd, restic, borg];
const REPOSITORIES = [holdfast, restic, borg];

export const DATA_SETS: readonly DataSet[] = [
  {
    name: "kernel",
    make: kernelSource,
    first: [...ARCHIVERS, rsyncLinkDest],
    again: [...REPOSITORIES, rsyncLinkDest],
    restore: [...ARCHIVERS, copy],
  },
  { name: "image", make: fileSystemImage, first: ARCHIVERS, again: REPOSITORIES, restore: [...ARCHIVERS, copy] },
  { name: "sql", make: sqlDump, first: ARCHIVERS, again: REPOSITORIES, restore: [...ARCHIVERS, copy] },
  { name: "random", make: incompressible, first: ARCHIVERS, again: REPOSITORIES, restore: [...ARCHIVERS, copy] },
];

export interface RunOptions {
  /** Where repositories and restored copies lie while they are measured. */
  readonly workFolder: string;
  readonly rounds: number;
  readonly caches: readonly CacheState[];
  readonly phases: readonly Phase[];
  readonly report: (line: string) => void;
}

/**
 * Measures one data set: in each round every program makes a first backup, one without changes, and restores it. Who comes
 * first changes from round to round, as the first may find the machine otherwise than those after it.
 */
export async function measureDataSet(dataSet: DataSet, source: string, options: RunOptions): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (const cache of options.caches) {
    for (let round = 1; round <= options.rounds; round++) {
      for (const phase of options.phases) {
        for (const contender of rotated(dataSet[phase], round - 1)) {
          const sample = await measurePhase(contender, dataSet.name, source, phase, cache, options);
          samples.push(sample);
          options.report(
            `${dataSet.name} ${phase} ${cache} ${round}/${options.rounds} ${contender.name}: ` +
              `${sample.wallSeconds.toFixed(2)} s, ${Math.round(sample.peakMemoryBytes / 2 ** 20)} MiB`,
          );
        }
      }
    }
  }
  rmSync(options.workFolder, { recursive: true, force: true });
  return samples;
}

function rotated<T>(items: readonly T[], by: number): readonly T[] {
  const first = by % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}

async function measurePhase(
  contender: Contender,
  data: string,
  source: string,
  phase: Phase,
  cache: CacheState,
  options: RunOptions,
): Promise<Sample> {
  const place = path.join(options.workFolder, contender.name.replaceAll(/[^a-z]+/g, "-"));
  const target = path.join(options.workFolder, "restored");
  const what = { data, phase, cache, contender: contender.name };
  switch (phase) {
    case "first": {
      await prepareFirst(contender, place);
      await settleMemory(source, options.workFolder);
      await prepareCache(cache, source);
      const measurement = await measure(contender.backUp(place, source, 0));
      const repository = contender.repository?.(place);
      const repositoryBytes = repository === undefined ? undefined : await sizeOnDisc(repository);
      return { ...what, ...measurement, repositoryBytes };
    }
    case "again": {
      await prepareCache(cache, source);
      return { ...what, ...(await measure(contender.backUp(place, source, 1))), repositoryBytes: undefined };
    }
    case "restore": {
      if (contender.restore === undefined) throw new Error(`${contender.name} does not restore`);
      await settleMemory(source, options.workFolder);
      mkdirSync(target, { recursive: true });
      await prepareCache(cache, existsSync(place) ? place : source);
      const measurement = await measure(contender.restore(place, source, target));
      if (readdirSync(target).length === 0) throw new Error(`${contender.name} restored nothing`);
      rmSync(target, { recursive: true });
      return { ...what, ...measurement, repositoryBytes: undefined };
    }
  }
}

async function prepareFirst(contender: Contender, place: string): Promise<void> {
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  for (const command of contender.prepare(place)) await run(command);
}

/**
 * In a virtual machine, memory that nobody has used for a while is with the host again, and costs several times as much to
 * write to. So everybody finds as much as the data takes just used and given back.
 */
async function settleMemory(source: string, workFolder: string): Promise<void> {
  const passing = path.join(workFolder, "passing");
  await run({ argv: ["cp", "-a", source, passing] });
  rmSync(passing, { recursive: true });
}

/** What was written before must not be written back while others are measured. */
async function prepareCache(cache: CacheState, toRead: string): Promise<void> {
  await run({ argv: ["sync"] });
  if (cache === "cold") writeFileSync("/proc/sys/vm/drop_caches", "3");
  else await run(shell('tar -cf - "$1" 2>/dev/null | cat >/dev/null', toRead));
}
