import { HoldfastError } from "../errors.ts";
import type { BlobId } from "../format/tree.ts";
import { type BlobTable, frameOfBlob } from "./blob-table.ts";
import { claimBlob, type ClaimTable, createClaimTable, isClaimedIn } from "./claim-table.ts";

/**
 * The blobs that one run knows of: those that the repository held at its start, and those that it has claimed since.
 *
 * Plain shared memory, so it can be posted to workers. Claimed blobs go to a chain of tables, each twice as large as
 * the one before, all made at the start: memory that is not touched costs nothing but address space. Of one that is in use
 * all is touched soon; of larger steps, more would be for nothing.
 */
export interface SessionBlobs {
  readonly base: BlobTable;
  readonly claimed: readonly ClaimTable[];
}

const FIRST_TABLE_BLOBS = 1 << 14;
/** 16 Ki, 32 Ki, … 64 Mi blobs: some 134 million new blobs in one run. */
const TABLES = 13;

export function createSessionBlobs(base: BlobTable): SessionBlobs {
  const claimed: ClaimTable[] = [];
  while (claimed.length < TABLES) {
    try {
      claimed.push(createClaimTable(FIRST_TABLE_BLOBS * 2 ** claimed.length));
    } catch (error) {
      // The kernel gives no address space beyond what the machine could ever hold; smaller tables do for what it can save.
      if (!(error instanceof RangeError) || claimed.length === 0) throw error;
      break;
    }
  }
  return { base, claimed };
}

/** True where the calling thread must store the blob; false where it is stored, or another thread is at it. */
export function claimForStoring(blobs: SessionBlobs, id: BlobId): boolean {
  if (frameOfBlob(blobs.base, id) >= 0) return false;
  for (const table of blobs.claimed) {
    const claim = claimBlob(table, id);
    if (claim !== "full") return claim === "claimed";
  }
  throw new HoldfastError("there is more new data than this machine's memory can keep account of in one run", {
    hint: "save it in several runs, a part of the folders at a time: each finds what the one before has stored",
  });
}

/** True where the blob whose id stands in `ids` from `at` was claimed in this run. */
export function isClaimed(blobs: SessionBlobs, ids: Uint8Array, at = 0): boolean {
  for (const table of blobs.claimed) {
    if (isClaimedIn(table, ids, at)) return true;
    if (Atomics.load(table.used, 0) < table.capacity) return false;
  }
  return false;
}
