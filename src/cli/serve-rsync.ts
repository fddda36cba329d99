/**
 * What `holdfast serve` starts where a host has come with a stock rsync. Its arguments: the server's
 * socket, the host, and what it asked sshd for, one character a byte.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import { HoldfastError } from "../errors.ts";
import { dataFile } from "../fleet/data-folder.ts";
import { openBesideServer } from "../fleet/database/open.ts";
import { serveRsyncDoor } from "../server/pulls/rsync-door.ts";
import { programVersion } from "./program-version.ts";
import { leaveAtEnd } from "../platform/leave.ts";

const RSYNC_FAILED = 12;
/** rsync's own: a signal. */
const RSYNC_SIGNAL = 20;

if (import.meta.main) {
  leaveAtEnd();
  const [socketPath, host, command] = process.argv.slice(2);
  process.exit(await answerRsync(socketPath, host, command));
}

/** Resolves with the exit status. What is wrong stands on standard error, which rsync at the other end shows. */
async function answerRsync(socketPath: string, host: string, command: string): Promise<number> {
  const stopping = new AbortController();
  process.on("SIGTERM", () => {
    if (stopping.signal.aborted) process.exit(RSYNC_SIGNAL);
    stopping.abort(new Error("the connection was ended"));
  });
  process.umask(0o077);
  const dataFolder = path.dirname(path.resolve(socketPath));
  const file = dataFile.database(dataFolder);
  if (!existsSync(file)) return refuse("the server's data is not where its socket is");
  const database = openBesideServer(file);
  try {
    const transport = { input: process.stdin, output: process.stdout, complaints: process.stderr };
    const program = `holdfast ${programVersion()}`;
    const context = { database, dataFolder, nowMs: Date.now, program, signal: stopping.signal };
    return await serveRsyncDoor(context, host, command, transport);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return refuse(error.hint === undefined ? error.message : `${error.message} (${error.hint})`);
  } finally {
    await database.destroy();
  }
}

function refuse(why: string): number {
  process.stderr.write(`holdfast: ${why}\n`);
  return RSYNC_FAILED;
}
