import { randomBytes } from "node:crypto";
import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/**
 * Bytes that are too many to be held: they are put into a temporary file that has no name, and so goes with the process
 * whatever becomes of it. Where there is no room for it, they stay in memory.
 */
export interface SpillFile {
  /** Gives where the bytes begin. Their memory is the caller's again afterwards. */
  append(bytes: Uint8Array): number;
  /** Fills as much of `into` as there is from `at`, at most to the end of what was appended there; gives how much. */
  read(at: number, into: Uint8Array): number;
  close(): void;
}

export function createSpillFile(folder: string = tmpdir()): SpillFile {
  let fd = openNamelessFile(folder);
  let end = 0;
  const held: { readonly at: number; readonly bytes: Uint8Array }[] = [];

  function write(bytes: Uint8Array): boolean {
    if (fd === undefined || held.length > 0) return false;
    try {
      for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, end + done);
      return true;
    } catch {
      // A full disc or a quota. What is there already can still be read.
      return false;
    }
  }

  function readHeld(at: number, into: Uint8Array): number {
    const piece = held.findLast((candidate) => candidate.at <= at);
    if (piece === undefined) return 0;
    const found = piece.bytes.subarray(at - piece.at, at - piece.at + into.length);
    into.set(found);
    return found.length;
  }

  return {
    append(bytes) {
      const at = end;
      if (!write(bytes)) held.push({ at, bytes: Uint8Array.from(bytes) });
      end += bytes.length;
      return at;
    },
    read(at, into) {
      if (held.length > 0 && at >= held[0].at) return readHeld(at, into);
      return fd === undefined ? 0 : readSync(fd, into, 0, Math.min(into.length, (held[0]?.at ?? end) - at), at);
    },
    close() {
      if (fd !== undefined) closeSync(fd);
      fd = undefined;
      held.length = 0;
      end = 0;
    },
  };
}

/** Opens a new file that goes with its descriptor; undefined where none can be made. */
export function openNamelessFile(folder: string = tmpdir()): number | undefined {
  const name = path.join(folder, `.holdfast-${randomBytes(12).toString("hex")}`);
  try {
    const fd = openSync(name, "wx+", 0o600);
    unlinkSync(name);
    return fd;
  } catch {
    return undefined;
  }
}
