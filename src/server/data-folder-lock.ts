import { readFileSync, writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { LockedError } from "../errors.ts";
import { dataFile } from "../fleet/data-folder.ts";

export interface DataFolderLock {
  release(): void;
}

/**
 * Keeps a second server off a data folder. The lock is one that the kernel holds for SQLite and lets go when the process
 * ends, however it ends, so there is nothing to clear away after a crash. Throws `LockedError`.
 */
export function lockDataFolder(folder: string): DataFolderLock {
  const file = dataFile.lock(folder);
  const sqlite = new DatabaseSync(file, { timeout: 0 });
  try {
    sqlite.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    sqlite.close();
    throw new LockedError(`a server${processOf(file)} already works on ${folder}`, {
      hint: "stop that one first, or choose another data folder with --data",
      cause,
    });
  }
  writeFileSync(`${file}.pid`, `${process.pid}\n`, { mode: 0o600 });
  return { release: () => sqlite.close() };
}

function processOf(file: string): string {
  try {
    return ` (process ${Number(readFileSync(`${file}.pid`, "utf8"))})`;
  } catch {
    return "";
  }
}
