import type { BlobId } from "../format/tree.ts";

/**
 * Blobs that one run has claimed: an open-addressing hash table in shared memory, in which several threads claim at once
 * without locks; the one that comes first is told to store the blob.
 *
 * A slot is four 32-bit words: the first 16 bytes of the blob's id, but for two bits of the last word, in which the slot's
 * state stands. Filled to at most three quarters: 22 bytes a blob.
 */
export interface ClaimTable {
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly slots: number;
  /** How many slots may be filled before the table is full. */
  readonly capacity: number;
  /** used[0]: slots in use. */
  readonly used: Int32Array<SharedArrayBuffer>;
}

export type Claim = "claimed" | "known" | "full";

export const WORDS_PER_SLOT = 4;
/** The word that says whether the others count. */
export const STATE = 3;
const STATE_BITS = 3;
/** The whole word of a slot that is free, or being written by a thread; the two bits of one that is taken. */
export const FREE = 0;
export const WRITING = 1;
const TAKEN = 2;

/** How many slots a table has for so many blobs. */
export const claimSlots = (capacity: number): number => Math.max(8, Math.ceil(capacity / 0.75));

/** How much memory a table takes. */
export const claimTableBytes = (capacity: number): number => claimSlots(capacity) * WORDS_PER_SLOT * 4 + 4;

/** Lies at the start of `memory`, which must be zero. */
export function createClaimTable(
  capacity: number,
  memory = new SharedArrayBuffer(claimTableBytes(capacity)),
): ClaimTable {
  const slots = claimSlots(capacity);
  const words = new Int32Array(memory, 0, slots * WORDS_PER_SLOT);
  return { words, slots, capacity, used: new Int32Array(memory, words.byteLength, 1) };
}

/** Takes a blob for the calling thread, if no thread has it yet. */
export function claimBlob(table: ClaimTable, id: BlobId): Claim {
  const { words, slots } = table;
  const [a, b, c] = [word(id, 0), word(id, 4), word(id, 8)];
  const d = lastWord(id, 0);
  let slot = homeOf(table, id, 0);
  for (;;) {
    const base = slot * WORDS_PER_SLOT;
    const state = Atomics.load(words, base + STATE);
    if (state === FREE) {
      if (Atomics.compareExchange(words, base + STATE, FREE, WRITING) !== FREE) continue;
      // Only now, with the slot in hand: of two threads with the same blob, both must find the table full, or neither.
      if (Atomics.load(table.used, 0) >= table.capacity) {
        Atomics.store(words, base + STATE, FREE);
        return "full";
      }
      Atomics.add(table.used, 0, 1);
      words[base] = a;
      words[base + 1] = b;
      words[base + 2] = c;
      Atomics.store(words, base + STATE, d);
      return "claimed";
    }
    // Another thread is at the few instructions that write its id.
    if (state === WRITING) continue;
    if (state === d && words[base] === a && words[base + 1] === b && words[base + 2] === c) return "known";
    if (++slot === slots) slot = 0;
  }
}

/** Whether any thread has claimed the blob whose id stands in `ids` from `at`. */
export function isClaimedIn(table: ClaimTable, ids: Uint8Array, at = 0): boolean {
  const { words, slots } = table;
  const a = word(ids, at);
  const b = word(ids, at + 4);
  const c = word(ids, at + 8);
  const d = lastWord(ids, at);
  let slot = homeOf(table, ids, at);
  for (;;) {
    const base = slot * WORDS_PER_SLOT;
    const state = Atomics.load(words, base + STATE);
    if (state === FREE) return false;
    if (state === WRITING) continue;
    if (state === d && words[base] === a && words[base + 1] === b && words[base + 2] === c) return true;
    if (++slot === slots) slot = 0;
  }
}

/** The slot at which the search for an id begins; proportional to its first bytes. */
export function homeOf(table: { readonly slots: number }, ids: Uint8Array, at: number): number {
  const high = ((ids[at] << 24) | (ids[at + 1] << 16) | (ids[at + 2] << 8) | ids[at + 3]) >>> 0;
  return Math.floor((high / 0x1_0000_0000) * table.slots);
}

/** 32 bits of an id. */
export function word(ids: Uint8Array, at: number): number {
  return ids[at] | (ids[at + 1] << 8) | (ids[at + 2] << 16) | (ids[at + 3] << 24);
}

/** The last word, as it stands in a slot that is taken. */
export function lastWord(ids: Uint8Array, at: number): number {
  return (word(ids, at + 12) & ~STATE_BITS) | TAKEN;
}
