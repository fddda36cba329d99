import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { HoldfastError, UsageError, messageOf } from "../errors.ts";
import type { FileStat, FileType } from "../platform/file-stat.ts";
import { joinRaw, type RawPath } from "../platform/raw-path.ts";
import type { Source, SourceEntry } from "./source.ts";

export interface CommandSourceOptions {
  /** What the content is called in the snapshot: `dump.sql`, `/var/backups/dump.sql`. */
  readonly fileName: RawPath;
  readonly content: CommandContent;
}

export type CommandContent =
  /** Program and arguments; no shell. What it writes to standard output is saved; its standard error passes through. */
  | { readonly kind: "command"; readonly argv: readonly string[] }
  /** Bytes as they come, such as our own standard input. Where it throws, the backup fails. */
  | { readonly kind: "input"; readonly input: AsyncIterable<Uint8Array> };

/**
 * One file whose content is a command's output. The folders above it are made up.
 *
 * Nobody knows the size beforehand, so the entry says 0: what counts is what comes. If the command cannot be started,
 * fails or is killed, its pieces end with a `HoldfastError` that carries the end of what it said on standard error: half
 * a dump is no backup.
 */
export function openCommandSource({ fileName, content }: CommandSourceOptions): Source {
  const entries = entriesFor(fileName);
  const running = new Set<ChildProcess>();
  let taken = false;
  return {
    async *entries() {
      yield entries;
    },
    details: () => ({ xattrs: [], target: undefined }),
    content: () => ({
      kind: "stream",
      pieces() {
        if (content.kind === "command") return outputOf(content.argv, running);
        if (taken) throw new HoldfastError("standard input can be read only once");
        taken = true;
        return content.input;
      },
    }),
    async close() {
      await Promise.all([...running].map(stop));
    },
  };
}

function entriesFor(fileName: RawPath): SourceEntry[] {
  const parts = fileName.split("/").filter((part) => part !== "") as RawPath[];
  if (parts.length === 0 || parts.some((part) => part === "." || part === ".." || part.includes("\0"))) {
    throw new UsageError("the file's name in the snapshot must be a path without . and ..");
  }
  const entries: SourceEntry[] = [];
  const add = (path: RawPath, name: RawPath, type: FileType): void => {
    entries.push({ path, name, depth: entries.length, stat: madeUpStat(type) });
  };
  add("" as RawPath, "" as RawPath, "directory");
  let path = "" as RawPath;
  for (const [index, name] of parts.entries()) {
    path = joinRaw(path, name);
    add(path, name, index === parts.length - 1 ? "file" : "directory");
  }
  return entries;
}

function madeUpStat(type: FileType): FileStat {
  const nowMs = Date.now();
  const seconds = Math.floor(nowMs / 1000);
  const nanoseconds = (nowMs - seconds * 1000) * 1_000_000;
  return {
    type,
    mode: type === "directory" ? 0o755 : 0o644,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    sizeBytes: 0,
    mtimeSeconds: seconds,
    mtimeNanoseconds: nanoseconds,
    ctimeSeconds: seconds,
    ctimeNanoseconds: nanoseconds,
    inodeHigh: 0,
    inodeLow: 0,
    links: 1,
    allocatedBytes: 0,
    deviceMajor: 0,
    deviceMinor: 0,
    rdevMajor: 0,
    rdevMinor: 0,
    inodeFlags: 0,
  };
}

/** How much of standard error is told again in the error. */
const STDERR_TAIL_BYTES = 2048;

async function* outputOf(argv: readonly string[], running: Set<ChildProcess>): AsyncGenerator<Uint8Array> {
  const [program, ...programArguments] = argv;
  if (program === undefined) throw new UsageError("no command was given");
  const child = spawn(program, programArguments, { stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  const tail = passThroughWithTail(child);
  // Waited for from the start: either event may come while a piece is being stored.
  const ended = endOf(child);
  try {
    for await (const piece of child.stdout) yield piece as Uint8Array;
    const end = await ended;
    if (end !== undefined) throw failure(program, end, tail());
  } finally {
    await stop(child);
    running.delete(child);
  }
}

/** What went wrong, or undefined. */
function endOf(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(`could not be started: ${messageOf(error)}`));
    child.once("close", (code, signal) => {
      if (signal !== null) resolve(`was ended by ${signal}`);
      else resolve(code === 0 ? undefined : `ended with exit code ${code}`);
    });
  });
}

function failure(program: string, end: string, stderrTail: string): HoldfastError {
  const said = stderrTail === "" ? "" : `; it said: ${stderrTail}`;
  return new HoldfastError(`the command ${program} ${end}${said}`, {
    hint: "Nothing was saved, because its output may be incomplete. Run the command by itself to see what is wrong.",
  });
}

function passThroughWithTail(child: ChildProcess): () => string {
  let tail = Buffer.alloc(0);
  child.stderr?.on("data", (piece: Buffer) => {
    process.stderr.write(piece);
    tail = Buffer.concat([tail, piece]).subarray(-STDERR_TAIL_BYTES);
  });
  return () => tail.toString("utf8").trim();
}

const KILL_AFTER_MS = 5000;

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const killer = setTimeout(() => child.kill("SIGKILL"), KILL_AFTER_MS);
  await exited;
  clearTimeout(killer);
}
