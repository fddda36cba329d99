import { mkdirSync, statSync } from "node:fs";
import path from "node:path";
import { errnoOf, messageOf, StorageError } from "../errors.ts";

/**
 * Makes a folder that only its owner may enter (or with another mode), and those above it, where they are not there;
 * whether it made one. Throws
 * `StorageError`, with the kernel's error as its cause. Not `mkdir` with `recursive`, which in Node never comes back where
 * a folder says that it has no room for names, as /proc does.
 */
export function makeFolder(folder: string, mode: number = OWNER_ONLY): boolean {
  try {
    return makeMissing(path.resolve(folder), mode);
  } catch (cause) {
    throw new StorageError(`could not make the folder ${folder}: ${reasonOf(cause)}`, { hint: hintFor(cause), cause });
  }
}

const OWNER_ONLY = 0o700;

function makeMissing(folder: string, mode: number): boolean {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) return false;
  if (found === undefined && folder !== path.dirname(folder)) makeMissing(path.dirname(folder), OWNER_ONLY);
  try {
    mkdirSync(folder, { mode });
    return true;
  } catch (error) {
    // Somebody else was quicker.
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) throw error;
    return false;
  }
}

/** In a few words: what the kernel said, without the name of the call. */
export function reasonOf(error: unknown): string {
  return /^[A-Z0-9]+: (.+?), [a-z]+( '.*)?$/s.exec(messageOf(error))?.[1] ?? messageOf(error);
}

/** What to do where a file or folder could not be made. */
export function hintFor(error: unknown): string | undefined {
  switch (errnoOf(error)) {
    case "EACCES":
    case "EPERM":
      return "run this as root or as the user to whom it belongs, or name another folder";
    case "ENOENT":
    case "EROFS":
    case "ENOTDIR":
    case "EEXIST":
      return "name another folder";
    default:
      return undefined;
  }
}
