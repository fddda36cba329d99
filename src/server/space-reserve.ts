import { randomFillSync } from "node:crypto";
import { closeSync, existsSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import path from "node:path";
import { errnoOf, messageOf } from "../errors.ts";
import type { Log } from "./log.ts";

const MEBIBYTE = 1024 * 1024;
const LARGEST_BYTES = 16 * MEBIBYTE;
/** Less than what a run must leave free, so that no run takes what was given up. */
const PART_OF_DISC = 0.005;

/**
 * Room that is kept on the data folder's disc by a file that nobody needs. When others have filled the disc to the last
 * block, the file goes, and there is room for the server's database: without that it could not note anything, and so not
 * prune either, which is what makes room.
 */
export interface SpaceReserve {
  /** Gives the room up where the disc is full, and sets it aside again when there is plenty. */
  keep(): void;
}

export function createSpaceReserve(
  file: string,
  log: Log,
  measure: (folder: string) => { totalBytes: number; freeBytes: number } = measureDisc,
): SpaceReserve {
  return {
    keep() {
      try {
        const { totalBytes, freeBytes } = measure(path.dirname(file));
        const reservedBytes = Math.max(MEBIBYTE, Math.min(LARGEST_BYTES, totalBytes * PART_OF_DISC));
        const isThere = existsSync(file);
        if (isThere && freeBytes < reservedBytes / 2) {
          rmSync(file);
          log("error", "the disc of the data folder is full: the server uses its last reserve to prune", { freeBytes });
        } else if (!isThere && freeBytes > reservedBytes * 4) setAside(file, reservedBytes);
      } catch (error) {
        log("error", `no room could be set aside for when the disc is full: ${messageOf(error)}`);
      }
    },
  };
}

/** With what no file system can make smaller. */
function setAside(file: string, bytes: number): void {
  const block = Buffer.alloc(MEBIBYTE);
  const fd = openSync(file, "w", 0o600);
  try {
    for (let written = 0; written < bytes; written += block.length) writeSync(fd, randomFillSync(block));
  } catch (error) {
    rmSync(file, { force: true });
    if (errnoOf(error) !== "ENOSPC") throw error;
  } finally {
    closeSync(fd);
  }
}

function measureDisc(folder: string): { totalBytes: number; freeBytes: number } {
  const { blocks, bavail, bsize } = statfsSync(folder);
  return { totalBytes: blocks * bsize, freeBytes: bavail * bsize };
}
