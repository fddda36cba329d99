import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { BusyError } from "../../errors.ts";
import { keepSigningKey, pullFile } from "./pull-files.ts";

export interface HostLock {
  release(): void;
}

/**
 * Lets one process at a time save a host, and others wait for it; or be at what else is named so. The lock is one that the kernel holds for SQLite, and
 * lets go when the process ends, however it ends. Throws `BusyError` where it takes longer.
 */
export function lockHost(dataFolder: string, host: string, waitMs: number, what = "run"): HostLock {
  // The folder is made with the key.
  keepSigningKey(dataFolder, host);
  const file = path.join(path.dirname(pullFile.signingKey(dataFolder, host)), `${what}.lock`);
  const lock = new DatabaseSync(file, { timeout: waitMs });
  try {
    lock.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    lock.close();
    throw new BusyError(`${host} is at that already, with another connection`, {
      hint: "try again when that has ended",
      cause,
    });
  }
  return { release: () => lock.close() };
}
