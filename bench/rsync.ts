/**
 * What it costs to save another host that has only rsync and sshd, against rsync itself, over ssh to this machine:
 * `npm run bench:rsync -- --help`.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";
import { seededRandom } from "../src/storage/testing/random.ts";
import { startSshServer } from "../test/support/ssh-server.ts";
import type { SshServer } from "../test/support/ssh-server.ts";
import { holdfastCommand, PASSWORD } from "./contenders.ts";
import { fileSystemImage, kernelSource, smallFiles } from "./data.ts";
import type { DataOptions } from "./data.ts";
import { measure, median, run } from "./measure.ts";
import type { Command, Measurement } from "./measure.ts";
import { describeMachine } from "./report.ts";

const HELP = `npm run bench:rsync [-- OPTION…]

  --quick            small parts of the data, one round
  --rounds N         how often each piece of work is timed (3)
  --only NAME        only time, door, bytes or memory; may be given again
  --data-folder DIR  where data is made and kept (bench/.data)
  --work-folder DIR  where copies and repositories are written (beside the data)
`;

const MEBIBYTE = 1024 * 1024;
const HOST = "127.0.0.1";
/** What a pull asks for, as an rsync's options. */
const ALL = ["-aHAX", "--numeric-ids"];

interface Bench {
  readonly data: DataOptions;
  readonly workFolder: string;
  readonly rounds: number;
  /** A server that lets us do anything, and one that lets us into one repository only, as Holdfast's would. */
  readonly open: SshServer;
  readonly door: SshServer;
}

/** One kind of work by rsync (into a folder) and by Holdfast (into a repository): both find what the last run left. */
interface Contest {
  readonly rsync: (options: readonly string[], shell: string) => Command;
  readonly holdfast: (shell: string) => Command;
}

const PARTS = { time: timeTable, door: doorTable, bytes: bytesTable, memory: memoryTable };

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      help: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      only: { type: "string", multiple: true },
      "data-folder": { type: "string", default: path.join(import.meta.dirname, ".data") },
      "work-folder": { type: "string" },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const needed = ["rsync:rsync", "ssh:openssh-client", "sshd:openssh-server", "/usr/bin/time:time"];
  execFileSync(path.join(import.meta.dirname, "../scripts/need-commands"), needed, { stdio: "inherit" });
  const folder = path.resolve(values["data-folder"]);
  const rounds = Number.parseInt(values.rounds ?? (values.quick ? "1" : "3"), 10);
  const undone: (() => unknown)[] = [];
  const cleanup = { after: (undo?: unknown) => void undone.push(undo as () => unknown) };
  try {
    const bench: Bench = {
      data: { folder, quick: values.quick },
      workFolder: path.join(path.resolve(values["work-folder"] ?? folder), "work"),
      rounds,
      open: await startSshServer(cleanup),
      door: await startSshServer(cleanup),
    };
    const tables: string[] = [];
    for (const [name, part] of Object.entries(PARTS)) {
      if (values.only?.includes(name) ?? true) tables.push(await part(bench));
    }
    const report = `${await describeMachine(folder, rounds)}\n\n${tables.join("\n")}`;
    const results = path.join(import.meta.dirname, "results");
    mkdirSync(results, { recursive: true });
    writeFileSync(path.join(results, `rsync-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.md`), report);
    process.stdout.write(report);
  } finally {
    for (const undo of undone) await undo();
  }
}

/** A piece of work, by each of the programs that do it, in turn. The first is Holdfast, the second what its bar is of. */
interface Work {
  readonly name: string;
  readonly bar?: number;
  readonly commands: Readonly<Record<string, Command>>;
}

async function timeTable(bench: Bench): Promise<string> {
  const source = await kernelSource(bench.data);
  const shell = shellOf(bench.open);
  return compareTimes(bench, "kernel source, pulled", (place) => {
    const { holdfast, rsync } = pull(place, source);
    // Beside what the bars are of, the rsync that asks the host for the same as a pull does.
    const likewise = pull(place, source, "copy-of-all").rsync(ALL, shell);
    const commands = { holdfast: holdfast(shell), "rsync -a": rsync(["-a"], shell), "rsync -aHAX": likewise };
    return [
      { name: "first pull", bar: 1.3, commands },
      { name: "unchanged again", bar: 1.5, commands },
    ];
  });
}

/** A stock rsync into our door and out of it, and into a folder and out of that. */
async function doorTable(bench: Bench): Promise<string> {
  const source = await kernelSource(bench.data);
  const folderShell = shellOf(bench.open);
  const door = shellOf(bench.door);
  return compareTimes(bench, "kernel source, by a stock rsync", (place) => {
    const { holdfast, rsync } = push(bench, place, source);
    const pushes = { "into holdfast": holdfast(door), "into a folder": rsync(ALL, folderShell) };
    const fetch = (from: string, to: string, shell: string): Command => ({
      argv: ["rsync", ...ALL, "-e", shell, `${HOST}:${from}/`, path.join(place, to)],
    });
    return [
      { name: "first push", commands: pushes },
      { name: "unchanged again", commands: pushes },
      {
        name: "fetch",
        commands: {
          "out of holdfast": fetch("latest", "fetched", door),
          "out of a folder": fetch(path.join(place, "copy"), "fetched-copy", folderShell),
        },
      },
    ];
  });
}

async function compareTimes(bench: Bench, title: string, worksIn: (place: string) => readonly Work[]): Promise<string> {
  const samples = new Map<string, Measurement[]>();
  let works: readonly Work[] = [];
  for (let round = 0; round < bench.rounds; round++) {
    const place = await freshPlace(bench, "time");
    works = worksIn(place);
    for (const { name, commands } of works) {
      for (const [program, command] of Object.entries(commands)) {
        await run({ argv: ["sync"] });
        const measurement = await measure(command);
        const key = `${name} | ${program}`;
        samples.set(key, [...(samples.get(key) ?? []), measurement]);
        progress(`${key}: ${measurement.wallSeconds.toFixed(2)} s, ${measurement.cpuSeconds.toFixed(2)} s CPU`);
      }
    }
    rmSync(place, { recursive: true });
  }
  const lines = [
    `| ${title} | | median | all rounds | CPU on this side | peak memory | | bar |`,
    "| --- | --- | --: | --- | --: | --: | --: | --- |",
  ];
  for (const { name, bar, commands } of works) {
    const medianOf = (program: string, field: keyof Measurement): number =>
      median((samples.get(`${name} | ${program}`) ?? []).map((sample) => sample[field]));
    const [own, ...others] = Object.keys(commands);
    for (const program of [own, ...others]) {
      const rounds = (samples.get(`${name} | ${program}`) ?? []).map(({ wallSeconds }) => wallSeconds.toFixed(1));
      const wallSeconds = medianOf(program, "wallSeconds");
      const ratio = medianOf(own, "wallSeconds") / wallSeconds;
      const isBar = program === others[0] && bar !== undefined;
      const cells = [
        name,
        program,
        `${wallSeconds.toFixed(2)} s`,
        rounds.join(", "),
        `${medianOf(program, "cpuSeconds").toFixed(2)} s`,
        `${Math.round(medianOf(program, "peakMemoryBytes") / MEBIBYTE)} MiB`,
        program === own ? "" : `${ratio.toFixed(2)} ×`,
        isBar ? `≤ ${bar} × ${verdict(ratio <= bar)}` : "",
      ];
      lines.push(`| ${cells.join(" | ")} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}

async function bytesTable(bench: Bench): Promise<string> {
  const lines = [
    "| on the wire | to the host: holdfast | rsync | | from the host: holdfast | rsync | | bar | |",
    "| --- | --: | --: | --: | --: | --: | --: | --- | --- |",
  ];
  const compare = async (work: string, contest: Contest, server: SshServer): Promise<void> => {
    const other = await countedRun(bench, bench.open, (shell) => contest.rsync(ALL, shell));
    const own = await countedRun(bench, server, contest.holdfast);
    const cells = (["sentBytes", "receivedBytes"] as const).flatMap((field) => [
      own[field].toLocaleString("en"),
      other[field].toLocaleString("en"),
      `${(own[field] / other[field]).toFixed(3)} ×`,
    ]);
    const met = own.sentBytes <= other.sentBytes * 1.1 && own.receivedBytes <= other.receivedBytes * 1.1;
    lines.push(`| ${work} | ${cells.join(" | ")} | ≤ 1.1 × | ${verdict(met)} |`);
    progress(lines.at(-1) ?? "");
  };
  const kernel = await kernelSource(bench.data);
  const image = await imageToChange(bench);
  for (const [direction, contestOf, server] of [
    ["pull", pull, bench.open],
    ["push", (place: string, source: string) => push(bench, place, source), bench.door],
  ] as const) {
    const place = await freshPlace(bench, direction);
    await compare(`first ${direction} of the kernel source`, contestOf(place, kernel), server);
    await compare(`unchanged again`, contestOf(place, kernel), server);
    rmSync(place, { recursive: true });

    const other = await freshPlace(bench, direction);
    const contest = contestOf(other, path.dirname(image));
    await countedRun(bench, bench.open, (shell) => contest.rsync(ALL, shell));
    await countedRun(bench, server, contest.holdfast);
    await changeBlocks(image);
    await compare(`${direction} of an image of ${sizeOf(bench) / MEBIBYTE} MiB, 1 % changed`, contest, server);
    rmSync(other, { recursive: true });
  }
  rmSync(path.dirname(image), { recursive: true });
  return `${lines.join("\n")}\n`;
}

/** Memory of the first pull and of the next, for ever more small files. */
async function memoryTable(bench: Bench): Promise<string> {
  const lines = [
    "| files | first pull | peak memory | unchanged again | peak memory | rsync -a, unchanged | rsync -aHAX, unchanged |",
    "| --: | --: | --: | --: | --: | --: | --: |",
  ];
  for (const count of bench.data.quick ? [1000, 10_000] : [10_000, 100_000, 500_000, 1_000_000]) {
    const source = await smallFiles(bench.data, count);
    const place = await freshPlace(bench, "growth");
    const { rsync, holdfast } = pull(place, source);
    const shell = shellOf(bench.open);
    const first = await measure(holdfast(shell));
    const again = await measure(holdfast(shell));
    await run(rsync(["-a"], shell));
    const plain = await measure(rsync(["-a"], shell));
    const all = await measure(rsync(ALL, shell));
    const cells = [first, again].flatMap(({ wallSeconds, peakMemoryBytes }) => [
      `${wallSeconds.toFixed(2)} s`,
      `${Math.round(peakMemoryBytes / MEBIBYTE)} MiB`,
    ]);
    lines.push(
      `| ${count.toLocaleString("en")} | ${cells.join(" | ")} | ${plain.wallSeconds.toFixed(2)} s | ${all.wallSeconds.toFixed(2)} s |`,
    );
    progress(lines.at(-1) ?? "");
    rmSync(place, { recursive: true });
  }
  return `${lines.join("\n")}\n`;
}

function pull(place: string, source: string, copy = "copy"): Contest {
  return {
    rsync: (options, shell) => ({
      argv: ["rsync", ...options, "-e", shell, `${HOST}:${source}/`, path.join(place, copy)],
    }),
    holdfast: (shell) => holdfastCommand(place, ["backup", "--quiet", "--rsh", shell, `${HOST}:${source}`]),
  };
}

function push({ door }: Bench, place: string, source: string): Contest {
  const script = path.join(import.meta.dirname, "../test/source/rsync/door.ts");
  const words = [process.execPath, script, path.join(place, "repository"), PASSWORD, path.join(place, "cache"), "host"];
  const forced = path.join(place, "forced");
  writeFileSync(forced, `#!/bin/sh\nexec ${words.map((word) => `'${word}'`).join(" ")}\n`, { mode: 0o755 });
  door.restrictKey(`restrict,command="${forced}"`);
  return {
    rsync: (options, shell) => ({
      argv: ["rsync", ...options, "-e", shell, `${source}/`, `${HOST}:${path.join(place, "copy")}`],
    }),
    holdfast: (shell) => ({ argv: ["rsync", ...ALL, "-e", shell, `${source}/`, `${HOST}:`] }),
  };
}

interface Counted {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** What leaves this side of the connection and what comes in, without ssh's own. */
async function countedRun(
  { workFolder }: Bench,
  server: SshServer,
  commandOf: (shell: string) => Command,
): Promise<Counted> {
  const report = path.join(workFolder, "counted.json");
  const counter = path.join(import.meta.dirname, "counting-shell.ts");
  await run(commandOf([process.execPath, counter, report, shellOf(server)].join(" ")));
  return JSON.parse(readFileSync(report, "utf8")) as Counted;
}

function shellOf(server: SshServer): string {
  return ["ssh", ...server.clientOptions].join(" ");
}

/** The beginning of a file system's image, in a folder of its own. */
async function imageToChange(bench: Bench): Promise<string> {
  const original = path.join(await fileSystemImage(bench.data), "machine.img");
  const folder = path.join(bench.workFolder, "image");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const image = path.join(folder, "machine.img");
  copyFileSync(original, image);
  truncateSync(image, sizeOf(bench));
  return image;
}

function sizeOf({ data }: Bench): number {
  return (data.quick ? 200 : 1024) * MEBIBYTE;
}

/** Writes over 1 % of its blocks of 4 KiB. */
async function changeBlocks(image: string): Promise<void> {
  const file = await open(image, "r+");
  const random = seededRandom(Math.floor(performance.now()));
  const blocks = Math.floor((await file.stat()).size / 4096);
  for (let changed = 0; changed < blocks / 100; changed++) {
    const block = Buffer.from(Array.from({ length: 4096 }, () => random.below(256)));
    await file.write(block, 0, block.length, random.below(blocks) * 4096);
  }
  await file.close();
}

async function freshPlace({ workFolder }: Bench, name: string): Promise<string> {
  const place = path.join(workFolder, name);
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  await run(holdfastCommand(place, ["init", "--quiet"]));
  return place;
}

function verdict(met: boolean): string {
  return met ? "✓" : "**miss**";
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

await main();
