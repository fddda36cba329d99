import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { errnoOf, messageOf, StorageError } from "../errors.ts";

/**
 * Writes a file that only its owner may read, whole or not at all, so that it survives a power cut. Throws `StorageError`
 * where the disc or its rights do not allow it.
 */
export function writeFileDurably(file: string, content: string | Uint8Array): void {
  const folder = path.dirname(file);
  makeFolder(folder);
  const temporary = `${file}.new`;
  try {
    const fd = openSync(temporary, "w", 0o600);
    try {
      writeFileSync(fd, content);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
    const folderFd = openSync(folder, "r");
    try {
      fsyncSync(folderFd);
    } finally {
      closeSync(folderFd);
    }
  } catch (cause) {
    throw new StorageError(`could not write ${file}: ${reasonOf(cause)}`, { hint: hintFor(cause), cause });
  }
}

/**
 * Makes a folder that only its owner may enter, and those above it, where they are not there. Throws `StorageError`. Not
 * `mkdirSync` with `recursive`, which never comes back where a folder says that it has no room for names, as /proc does.
 */
export function makeFolder(folder: string): void {
  try {
    makeMissing(path.resolve(folder));
  } catch (cause) {
    throw new StorageError(`could not make the folder ${folder}: ${reasonOf(cause)}`, { hint: hintFor(cause), cause });
  }
}

function makeMissing(folder: string): void {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) return;
  if (found === undefined && folder !== path.dirname(folder)) makeMissing(path.dirname(folder));
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    // Somebody else was quicker.
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) throw error;
  }
}

/** In a few words: what the kernel said, without the name of the call. */
function reasonOf(error: unknown): string {
  return /^[A-Z0-9]+: (.+?), [a-z]+( '.*)?$/s.exec(messageOf(error))?.[1] ?? messageOf(error);
}

function hintFor(error: unknown): string | undefined {
  switch (errnoOf(error)) {
    case "EACCES":
    case "EPERM":
      return "run this as root or as the user to whom it belongs, or name another folder";
    case "EROFS":
    case "ENOTDIR":
    case "EEXIST":
      return "name another folder";
    default:
      return undefined;
  }
}
