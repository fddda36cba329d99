/**
 * How cost grows with the number of files, snapshots and blobs: `npm run bench:growth -- --help`.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { borg, holdfast, holdfastCommand, restic } from "./contenders.ts";
import { kernelSource, smallFiles } from "./data.ts";
import type { DataOptions } from "./data.ts";
import { measure, outputOf, run } from "./measure.ts";
import type { Measurement } from "./measure.ts";
import { describeMachine } from "./report.ts";

const HELP = `npm run bench:growth [-- OPTION…]

  --quick            a tenth and less of everything
  --only NAME        only files, snapshots or index
  --data-folder DIR  where data is made and kept (bench/.data)
`;

interface Row {
  readonly what: string;
  readonly count: number;
  readonly program: string;
  readonly measurement: Measurement;
}

const MEBIBYTE = 1024 * 1024;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      help: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      "data-folder": { type: "string", default: path.join(import.meta.dirname, ".data") },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const needed = ["restic:restic", "borg:borgbackup", "/usr/bin/time:time"];
  execFileSync(path.join(import.meta.dirname, "../scripts/need-commands"), needed, { stdio: "inherit" });
  const folder = path.resolve(values["data-folder"]);
  const options: DataOptions = { folder, quick: values.quick };
  const kinds = { files: growthWithFiles, snapshots: growthWithSnapshots, index: growthWithBlobs };
  const tables: string[] = [];
  for (const [name, kind] of Object.entries(kinds)) {
    if (values.only === undefined || values.only === name) tables.push(await kind(options));
  }
  const report = `${await describeMachine(folder, 1)}\n\n${tables.join("\n")}`;
  const results = path.join(import.meta.dirname, "results");
  mkdirSync(results, { recursive: true });
  writeFileSync(path.join(results, `growth-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.md`), report);
  process.stdout.write(report);
}

async function growthWithFiles(options: DataOptions): Promise<string> {
  const rows: Row[] = [];
  for (const count of options.quick ? [1000, 10_000] : [10_000, 100_000, 1_000_000]) {
    const source = await smallFiles(options, count);
    for (const contender of [holdfast, restic, borg]) {
      const place = freshPlace(options, contender.name);
      for (const command of contender.prepare(place)) await run(command);
      for (const [index, what] of ["first backup", "unchanged again"].entries()) {
        await run({ argv: ["sync"] });
        const measurement = await measure(contender.backUp(place, source, index));
        rows.push({ what, count, program: contender.name, measurement });
        progress(`${count} files, ${what}, ${contender.name}: ${measurement.wallSeconds.toFixed(2)} s`);
      }
      rmSync(place, { recursive: true });
    }
  }
  return table("files", rows);
}

async function growthWithSnapshots(options: DataOptions): Promise<string> {
  const rows: Row[] = [];
  const original = await kernelSource(options);
  for (const count of options.quick ? [1, 10, 100] : [1, 100, 1000]) {
    const place = freshPlace(options, "history");
    const source = path.join(place, "source");
    await run({ argv: ["cp", "-a", original, source] });
    for (const command of holdfast.prepare(place)) await run(command);
    progress(`making ${count} snapshots…`);
    const made = performance.now();
    await run({ argv: ["node", path.join(import.meta.dirname, "make-history.ts"), place, source, String(count)] });
    progress(`… took ${Math.round((performance.now() - made) / 1000)} s`);
    const add = async (what: string, args: readonly string[]): Promise<void> => {
      const measurement = await measure(holdfastCommand(place, args));
      rows.push({ what, count, program: holdfast.name, measurement });
      progress(`${count} snapshots, ${what}: ${measurement.wallSeconds.toFixed(2)} s`);
    };
    await add("snapshots", ["snapshots"]);
    await add("check", ["check"]);
    await add("prune, nothing to do", ["prune"]);
    const keep = String(Math.ceil(count / 2));
    await add("forget the older half", ["forget", "--keep-last", keep, "--quiet"]);
    // Without copying: what that costs depends on the disc.
    await add("prune after that", ["prune", "--max-repack-size", "0"]);
    rmSync(place, { recursive: true });
  }
  return table("snapshots", rows);
}

async function growthWithBlobs(options: DataOptions): Promise<string> {
  const lines = ["| blobs in the index | to open | memory a blob |", "| --: | --: | --: |"];
  for (const count of options.quick ? [100_000, 1_000_000] : [100_000, 1_000_000, 10_000_000]) {
    const script = path.join(import.meta.dirname, "open-index.ts");
    const output = await outputOf(["node", "--expose-gc", "--max-old-space-size=8000", script, String(count)]);
    const { seconds, bytesPerBlob } = JSON.parse(output) as { seconds: number; bytesPerBlob: number };
    lines.push(`| ${count.toLocaleString("en")} | ${seconds.toFixed(2)} s | ${bytesPerBlob.toFixed(1)} B |`);
    progress(lines.at(-1) ?? "");
  }
  return `${lines.join("\n")}\n`;
}

function freshPlace({ folder }: DataOptions, name: string): string {
  const place = path.join(folder, "work", name);
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  return place;
}

function table(unit: string, rows: readonly Row[]): string {
  const lines = rows.map(({ what, count, program, measurement: { wallSeconds, cpuSeconds, peakMemoryBytes } }) => {
    const cells = [
      count.toLocaleString("en"),
      what,
      program,
      `${wallSeconds.toFixed(2)} s`,
      `${cpuSeconds.toFixed(2)} s`,
    ];
    return `| ${cells.join(" | ")} | ${Math.round(peakMemoryBytes / MEBIBYTE)} MiB |`;
  });
  const head = [`| ${unit} | work | program | time | CPU | peak memory |`, "| --: | --- | --- | --: | --: | --: |"];
  return `${[...head, ...lines].join("\n")}\n`;
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

await main();
