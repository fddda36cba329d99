import { existsSync, readFileSync, realpathSync, statSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { LockedError, messageOf, StorageError } from "../errors.ts";
import { dataFile } from "../fleet/data-folder.ts";

export interface DataFolderLock {
  release(): void;
}

/**
 * Keeps a second server off a data folder. The lock is one that the kernel holds for SQLite and lets go when the process
 * ends, however it ends, so there is nothing to clear away after a crash. Throws `LockedError`, or `StorageError` where
 * this user may not write there.
 */
export function lockDataFolder(folder: string): DataFolderLock {
  const file = dataFile.lock(folder);
  let sqlite: DatabaseSync | undefined;
  try {
    sqlite = new DatabaseSync(file, { timeout: 0 });
    sqlite.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    sqlite?.close();
    if (!isBusy(cause)) {
      throw new StorageError(`the data folder ${folder} cannot be used: ${file}: ${messageOf(cause)}`, {
        hint: "run this as the user to whom it belongs, or choose another with --data",
        cause,
      });
    }
    throw new LockedError(`a server${processOf(file)} already works on ${folder}`, {
      hint: "stop that one first, or choose another data folder with --data",
      cause,
    });
  }
  const held = sqlite;
  writeFileSync(`${file}.pid`, `${process.pid}\n`, { mode: 0o600 });
  return { release: () => held.close() };
}

/**
 * Throws `LockedError` where a server works on the data folder in which this repository lies: two would each think that
 * it is theirs alone. Of a repository that lies elsewhere nothing is known.
 */
export function refuseServedRepository(storageUrl: string): void {
  if (!existsSync(storageUrl)) return;
  const folder = path.resolve(realpathSync(storageUrl), "../..");
  if (!existsSync(dataFile.lock(folder))) return;
  try {
    lockDataFolder(folder).release();
  } catch (error) {
    if (error instanceof LockedError) throw error;
  }
}

/**
 * Goes on as the user to whom a data folder belongs, where that is not root: what root makes there, the server of that
 * user could not read.
 */
export function becomeOwnerOf(folder: string): void {
  const { uid, gid } = statSync(folder);
  if (process.getuid?.() !== 0 || uid === 0) return;
  process.setgroups?.([gid]);
  process.setgid?.(gid);
  process.setuid?.(uid);
  process.env.HOME = userInfo().homedir;
}

/** SQLITE_BUSY, https://sqlite.org/rescode.html */
function isBusy(error: unknown): boolean {
  const code = (error as { errcode?: unknown } | null)?.errcode;
  return typeof code === "number" && (code & 0xff) === 5;
}

function processOf(file: string): string {
  try {
    return ` (process ${Number(readFileSync(`${file}.pid`, "utf8"))})`;
  } catch {
    return "";
  }
}
