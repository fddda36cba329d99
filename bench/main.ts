/**
 * Measures Holdfast against its peers on the same data in the same run: `npm run bench -- --help`.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { describeMachine, markdownReport } from "./report.ts";
import { DATA_SETS, measureDataSet } from "./scenarios.ts";
import type { CacheState, Phase, Sample } from "./scenarios.ts";

const HELP = `npm run bench [-- OPTION…]

  --quick            small parts of the data, one round, warm only: a first impression in a few minutes
  --rounds N         how often each program does each piece of work (3)
  --data NAME        only kernel, image, sql or random; may be given again
  --phase NAME       only first, again or restore; restore and again need first
  --cache STATE      only warm or cold; cold needs root
  --data-folder DIR  where data is made and kept (bench/.data)
  --work-folder DIR  where repositories are written (beside the data). Both should lie on a real disc;
                     in memory (/dev/shm) restores vary less, because no write-back gets in their way

Installs its peers (restic, borgbackup, rsync, zstd, time) from Debian's packages when run as root.
`;

const PEERS = [
  "restic:restic",
  "borg:borgbackup",
  "rsync:rsync",
  "zstd:zstd",
  "/usr/bin/time:time",
  "mke2fs:e2fsprogs",
  "tar:tar",
  "xz:xz-utils",
];

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      help: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      data: { type: "string", multiple: true },
      phase: { type: "string", multiple: true },
      cache: { type: "string", multiple: true },
      "data-folder": { type: "string", default: path.join(import.meta.dirname, ".data") },
      "work-folder": { type: "string" },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  execFileSync(path.join(import.meta.dirname, "../scripts/need-commands"), PEERS, { stdio: "inherit" });

  const rounds = Number.parseInt(values.rounds ?? (values.quick ? "1" : "3"), 10);
  const dataFolder = path.resolve(values["data-folder"]);
  const options = {
    workFolder: path.join(path.resolve(values["work-folder"] ?? dataFolder), "work"),
    rounds,
    phases: chosen<Phase>(["first", "again", "restore"], values.phase),
    caches: chosen<CacheState>(values.quick || process.getuid?.() !== 0 ? ["warm"] : ["warm", "cold"], values.cache),
    report: (line: string) => process.stderr.write(`${line}\n`),
  };
  const dataSets = DATA_SETS.filter(({ name }) => values.data?.includes(name) ?? true);

  const samples: Sample[] = [];
  for (const dataSet of dataSets) {
    const source = await dataSet.make({ folder: dataFolder, quick: values.quick });
    samples.push(...(await measureDataSet(dataSet, source, options)));
  }
  const machine = await describeMachine(dataFolder, rounds);
  const markdown = markdownReport(samples, machine);
  const results = path.join(import.meta.dirname, "results");
  mkdirSync(results, { recursive: true });
  const name = path.join(results, new Date().toISOString().slice(0, 19).replaceAll(":", "-"));
  writeFileSync(`${name}.json`, `${JSON.stringify({ machine, samples }, undefined, 2)}\n`);
  writeFileSync(`${name}.md`, markdown);
  process.stdout.write(markdown);
}

function chosen<Name extends string>(all: readonly Name[], wanted: readonly string[] | undefined): readonly Name[] {
  return wanted === undefined ? all : all.filter((name) => wanted.includes(name));
}

await main();
