/**
 * A process of its own for one pull, told on standard input; what comes of it is in the database. The pipe stays open as
 * long as the server lives: when it closes, nobody looks after this run any more, and it ends.
 */
import { setPriority } from "node:os";
import { createInterface } from "node:readline";
import { dataFile } from "../../fleet/data-folder.ts";
import { openBesideServer } from "../../fleet/database/open.ts";
import { lockHost } from "./host-lock.ts";
import { pullHost } from "./pull-host.ts";
import { leaveAtEnd } from "../../platform/leave.ts";

export interface ToldPull {
  readonly dataFolder: string;
  readonly host: string;
  readonly runId: number;
  readonly program: string;
}

/** How long it may take to leave in order. */
const LEAVE_MS = 15_000;

if (import.meta.main) {
  leaveAtEnd();
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
  // After a crash of the server, another may be on its way out.
  const lock = lockHost(dataFolder, host, 2 * LEAVE_MS);
  const database = openBesideServer(dataFile.database(dataFolder));
  const context = { database, dataFolder, nowMs: Date.now, program, signal: stopping.signal };
  const { state } = await pullHost(context, host, runId);
  await database.destroy();
  lock.release();
  process.exit(state === "succeeded" || state === "incomplete" ? 0 : 1);
}
