import type { BlobId } from "../format/tree.ts";

/**
 * Which frame holds a blob: an open-addressing hash table in shared memory, filled by one thread before others see it, and
 * then read by all without locks.
 *
 * A slot is six 32-bit words: 16 bytes of the blob's id, the frame's number in the frame table plus `TAKEN`, and the
 * blob's place in that frame. A slot's home is proportional to the id, so that filling the table in order of id (as
 * indexes are stored) walks through memory once. Filled to at most three quarters: 32 bytes a blob.
 */
export interface BlobTable {
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly slots: number;
  /** words[0] of its own little buffer: slots in use. */
  readonly used: Int32Array<SharedArrayBuffer>;
}

const WORDS_PER_SLOT = 6;
const STATE = 4;
const PLACE = 5;
/** States of a slot: free, or TAKEN + frame number. */
const FREE = 0;
const TAKEN = 1;

export function createBlobTable(capacity: number): BlobTable {
  const slots = Math.max(8, Math.ceil(capacity / 0.75));
  return {
    words: new Int32Array(new SharedArrayBuffer(slots * WORDS_PER_SLOT * 4)),
    slots,
    used: new Int32Array(new SharedArrayBuffer(4)),
  };
}

function homeOf(table: BlobTable, ids: Uint8Array, at: number): number {
  const high = ((ids[at] << 24) | (ids[at + 1] << 16) | (ids[at + 2] << 8) | ids[at + 3]) >>> 0;
  return Math.floor((high / 0x1_0000_0000) * table.slots);
}

function word(ids: Uint8Array, at: number): number {
  return ids[at] | (ids[at + 1] << 8) | (ids[at + 2] << 16) | (ids[at + 3] << 24);
}

/** Adds a blob to a table that no other thread uses yet; of a blob that is there already, the first place stays. The first 16 bytes of the id stand in `ids` from `at`. */
export function insertBlob(table: BlobTable, ids: Uint8Array, at: number, frame: number, place: number): void {
  const { words, slots } = table;
  const a = word(ids, at);
  const b = word(ids, at + 4);
  const c = word(ids, at + 8);
  const d = word(ids, at + 12);
  let slot = homeOf(table, ids, at);
  for (;;) {
    const base = slot * WORDS_PER_SLOT;
    if (words[base + STATE] === FREE) {
      if (table.used[0] >= slots - 1) throw new RangeError("blob table is full");
      words[base] = a;
      words[base + 1] = b;
      words[base + 2] = c;
      words[base + 3] = d;
      words[base + STATE] = TAKEN + frame;
      words[base + PLACE] = place;
      table.used[0]++;
      return;
    }
    if (words[base] === a && words[base + 1] === b && words[base + 2] === c && words[base + 3] === d) return;
    if (++slot === slots) slot = 0;
  }
}

/** Calls back for each blob of a table: its slot, and the frame that holds it. */
export function forEachBlob(table: BlobTable, callback: (slot: number, frame: number) => void): void {
  for (let slot = 0; slot < table.slots; slot++) {
    const state = table.words[slot * WORDS_PER_SLOT + STATE];
    if (state >= TAKEN) callback(slot, state - TAKEN);
  }
}

/** The slot of a blob, below `slots`, or -1. The id stands in `ids` from `at`. */
export function findSlot(table: BlobTable, ids: Uint8Array, at = 0): number {
  const { words, slots } = table;
  const a = word(ids, at);
  let slot = homeOf(table, ids, at);
  for (;;) {
    const base = slot * WORDS_PER_SLOT;
    if (words[base + STATE] === FREE) return -1;
    if (
      words[base] === a &&
      words[base + 1] === word(ids, at + 4) &&
      words[base + 2] === word(ids, at + 8) &&
      words[base + 3] === word(ids, at + 12)
    )
      return slot;
    if (++slot === slots) slot = 0;
  }
}

/** The frame number that holds a blob, or -1 where it is not known. */
export function frameOfBlob(table: BlobTable, ids: Uint8Array, at = 0): number {
  const slot = findSlot(table, ids, at);
  return slot < 0 ? -1 : table.words[slot * WORDS_PER_SLOT + STATE] - TAKEN;
}

/** Frame and place of a blob, or undefined. */
export function locateBlob(table: BlobTable, id: BlobId): { frame: number; place: number } | undefined {
  const slot = findSlot(table, id, 0);
  if (slot < 0) return undefined;
  const base = slot * WORDS_PER_SLOT;
  return { frame: table.words[base + STATE] - TAKEN, place: table.words[base + PLACE] };
}
