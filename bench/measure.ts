/** Runs whole programs and measures what they cost, as a user would feel it. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export interface Command {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export interface Measurement {
  readonly wallSeconds: number;
  /** User and system time of the program and of all that it started. */
  readonly cpuSeconds: number;
  /** Largest resident set of any one process among them. */
  readonly peakMemoryBytes: number;
}

/** A shell's pipe as one command. */
export function shell(script: string, ...args: readonly string[]): Command {
  return { argv: ["bash", "-o", "pipefail", "-c", script, "bash", ...args] };
}

/** Runs a command to its end and throws, with what it said, if that was not exit code 0. */
export async function run(command: Command): Promise<void> {
  await runToEnd(command.argv, command);
}

/** Runs a command and measures it, by GNU time for what `wait4(2)` tells and by our own clock for the wall. */
export async function measure(command: Command): Promise<Measurement> {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-bench-"));
  try {
    const report = path.join(folder, "time");
    writeFileSync(report, "");
    const started = process.hrtime.bigint();
    await runToEnd(["/usr/bin/time", "-o", report, "-f", "%U %S %M", ...command.argv], command);
    const wallSeconds = Number(process.hrtime.bigint() - started) / 1e9;
    const [user, system, maximumKibibytes] = readFileSync(report, "utf8").trim().split(" ").map(Number);
    return { wallSeconds, cpuSeconds: user + system, peakMemoryBytes: maximumKibibytes * 1024 };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export async function outputOf(argv: readonly string[]): Promise<string> {
  return runToEnd(argv, {});
}

function runToEnd(argv: readonly string[], { env, cwd }: Omit<Command, "argv">): Promise<string> {
  return new Promise((resolve, reject) => {
    const [program, ...args] = argv;
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, LC_ALL: "C.UTF-8", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (stderr = (stderr + chunk.toString()).slice(-4000)));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) resolve(stdout);
      else reject(new Error(`${argv.join(" ")}: ended with ${signal ?? code}\n${stderr}`));
    });
  });
}

/** Space that all files below a folder take, by their length. */
export async function sizeOnDisc(folder: string): Promise<number> {
  return Number.parseInt(await outputOf(["du", "-sb", "--apparent-size", folder]), 10);
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
