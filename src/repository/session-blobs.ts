import { closeSync } from "node:fs";
import { HoldfastError } from "../errors.ts";
import type { BlobId } from "../format/tree.ts";
import { openNamelessFile } from "../platform/spill-file.ts";
import { type BlobTable, frameOfBlob } from "./blob-table.ts";
import {
  bytesInFile,
  type ClaimFile,
  claimFileBytes,
  createClaimFile,
  isInFile,
  isPutAway,
  putAway,
} from "./claim-file.ts";
import {
  type Claim,
  claimBlob,
  type ClaimTable,
  claimTableBytes,
  createClaimTable,
  isClaimedIn,
} from "./claim-table.ts";

/**
 * The blobs that one run knows of: those that the repository held at its start, and those that it has claimed since.
 *
 * Plain shared memory, so it can be posted to workers. Claimed blobs go to a chain of tables, all made at the start: memory
 * that is not touched costs nothing but address space. Those that are full wait in a temporary file.
 */
export interface SessionBlobs {
  readonly base: BlobTable;
  readonly claimed: readonly ClaimStep[];
  /** Of the temporary file, if there is one. */
  readonly fd: number | undefined;
}

export interface ClaimStep {
  readonly table: ClaimTable;
  /** Where it goes when it is full; undefined where it stays in memory. */
  readonly file: ClaimFile | undefined;
}

/** So few tables that looking through all of them costs little; so many that the one in use is small beside the others. */
const TABLES_OF_A_SIZE = 8;
/** In blobs. All together they hold some 150 million: so many can be new in one run. */
const TABLE_SIZES = [64, 128, 512, 2048, 16 * 1024].map((kibi) => kibi * 1024);

/** To be closed with `closeSessionBlobs`. */
export function createSessionBlobs(base: BlobTable): SessionBlobs {
  const fd = openNamelessFile();
  const claimed: ClaimStep[] = [];
  let end = 0;
  try {
    for (const size of TABLE_SIZES) {
      for (let number = 0; number < TABLES_OF_A_SIZE; number++) {
        const step = createClaimStep(size, fd, end);
        end += bytesInFile(step.table);
        claimed.push(step);
      }
    }
  } catch (error) {
    // The kernel gives no address space beyond what the machine could ever hold; smaller tables do for what it can save.
    if (!(error instanceof RangeError) || claimed.length === 0) throw error;
  }
  return { base, claimed, fd };
}

export function createClaimStep(blobs: number, fd: number | undefined, at: number): ClaimStep {
  // In one piece: each takes time to be made.
  const memory = new SharedArrayBuffer(claimTableBytes(blobs) + (fd === undefined ? 0 : claimFileBytes(blobs)));
  const table = createClaimTable(blobs, memory);
  return { table, file: fd === undefined ? undefined : createClaimFile(fd, at, table, memory) };
}

/** When no thread looks into them any more. */
export function closeSessionBlobs({ fd }: SessionBlobs): void {
  if (fd !== undefined) closeSync(fd);
}

/** True where the calling thread must store the blob; false where it is stored, or another thread is at it. */
export function claimForStoring(blobs: SessionBlobs, id: BlobId): boolean {
  if (frameOfBlob(blobs.base, id) >= 0) return false;
  for (const step of blobs.claimed) {
    const claim = claimIn(step, id);
    if (claim !== "full") return claim === "claimed";
  }
  throw new HoldfastError("there is more new data than this machine's memory can keep account of in one run", {
    hint: "save it in several runs, a part of the folders at a time: each finds what the one before has stored",
  });
}

function claimIn({ table, file }: ClaimStep, id: BlobId): Claim {
  if (file === undefined) return claimBlob(table, id);
  if (!isPutAway(file)) {
    const claim = claimBlob(table, id);
    if (claim !== "full") return claim;
    putAway(table, file);
    if (!isPutAway(file)) return claim;
  }
  return isInFile(file, id) ? "known" : "full";
}

/** True where the blob whose id stands in `ids` from `at` was claimed in this run. */
export function isClaimed(blobs: SessionBlobs, ids: Uint8Array, at = 0): boolean {
  for (const { table, file } of blobs.claimed) {
    if (file === undefined || !isPutAway(file)) {
      if (isClaimedIn(table, ids, at)) return true;
      if (Atomics.load(table.used, 0) < table.capacity) return false;
    }
    if (file !== undefined && isPutAway(file) && isInFile(file, ids, at)) return true;
  }
  return false;
}
