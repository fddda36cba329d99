import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { StorageError } from "../errors.ts";
import { hintFor, makeFolder, reasonOf } from "../platform/make-folder.ts";

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
