/**
 * A process of its own for one pull, told on standard input; what comes of it is in the database. The pipe stays open as
 * long as the server lives: when it closes, nobody looks after this run any more, and it ends.
 */
import { setPriority } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { dataFile } from "../../fleet/data-folder.ts";
import { openDatabase } from "../../fleet/database/open.ts";
import { keepSigningKey, pullFile } from "./pull-files.ts";
import { pullHost } from "./pull-host.ts";

export interface ToldPull {
  readonly dataFolder: string;
  readonly host: string;
  readonly runId: number;
  readonly program: string;
}

/** How long it may take to leave in order. */
const LEAVE_MS = 15_000;

/**
 * Waits until no other process pulls from the host: after a crash of the server, one may be on its way out. The lock is
 * one that the kernel holds for SQLite, and lets go when the process ends.
 */
function lockHost(dataFolder: string, host: string): DatabaseSync {
  keepSigningKey(dataFolder, host);
  const file = path.join(path.dirname(pullFile.signingKey(dataFolder, host)), "pull.lock");
  const lock = new DatabaseSync(file, { timeout: 2 * LEAVE_MS });
  lock.exec("BEGIN EXCLUSIVE");
  return lock;
}

if (import.meta.main) {
  // Sessions of agents, where somebody waits at the other end, come first.
  setPriority(5);
  const stopping = new AbortController();
  const stop = (): void => {
    if (stopping.signal.aborted) return;
    stopping.abort(new Error("the server was stopped"));
    setTimeout(() => process.exit(1), LEAVE_MS).unref();
  };
  process.once("SIGTERM", stop);
  const lines = createInterface({ input: process.stdin });
  const told = new Promise<string>((resolve, reject) => {
    lines.once("line", resolve);
    lines.once("close", () => reject(new Error("nothing was told")));
  });
  const { dataFolder, host, runId, program } = JSON.parse(await told) as ToldPull;
  lines.once("close", stop);
  const lock = lockHost(dataFolder, host);
  const { database } = openDatabase(dataFile.database(dataFolder), Date.now());
  const context = { database, dataFolder, nowMs: Date.now, program, signal: stopping.signal };
  const { state } = await pullHost(context, host, runId);
  await database.destroy();
  lock.close();
  process.exit(state === "succeeded" || state === "incomplete" ? 0 : 1);
}
