import { readSync, writeSync } from "node:fs";
import { emptySharedMemory } from "../platform/free-memory.ts";
import {
  claimSlots,
  type ClaimTable,
  FREE,
  homeOf,
  lastWord,
  STATE,
  word,
  WORDS_PER_SLOT,
  WRITING,
} from "./claim-table.ts";

/**
 * Where a claim table goes that is full: as it stands into a file, and of each slot one byte into shared memory, which says
 * of nearly all blobs that are not in the table that they are not: 1.3 bytes a blob in place of 22. Looked into by all
 * threads; which one puts the table away does not matter.
 */
export interface ClaimFile {
  /** Belongs to whoever made the session's tables. */
  readonly fd: number;
  /** Where in the file the table begins. */
  readonly at: number;
  readonly slots: number;
  /** A byte of the id in each slot; 0 for a slot that is free. */
  readonly tags: Uint8Array<SharedArrayBuffer>;
  /** [0]: how far it is. */
  readonly progress: Int32Array<SharedArrayBuffer>;
}

/** All in memory still; being written, or could not be; all in the file, and gone from memory. */
const IN_MEMORY = 0;
const BEGUN = 1;
const IN_FILE = 2;

const SLOT_BYTES = WORDS_PER_SLOT * 4;
const SLOTS_AT_ONCE = 4096;

/** Of a table whose own `memory` has room for `claimFileBytes` behind it. */
export function createClaimFile(fd: number, at: number, table: ClaimTable, memory: SharedArrayBuffer): ClaimFile {
  const { slots, used } = table;
  const progress = new Int32Array(memory, used.byteOffset + used.byteLength, 1);
  const tags = new Uint8Array(memory, progress.byteOffset + progress.byteLength, slots);
  return { fd, at, slots, tags, progress };
}

export const claimFileBytes = (capacity: number): number => 4 + claimSlots(capacity);

/** How many bytes of a file a table takes. */
export const bytesInFile = (table: ClaimTable): number => table.slots * SLOT_BYTES;

/**
 * Whether the table is to be looked for in the file. To be asked after a search in memory that has found nothing: the table
 * may have been emptied meanwhile.
 */
export const isPutAway = (file: ClaimFile): boolean => Atomics.load(file.progress, 0) === IN_FILE;

/** Puts a full table away, unless another thread is at it. Where there is no room for it, it stays in memory. */
export function putAway(table: ClaimTable, file: ClaimFile): void {
  if (Atomics.compareExchange(file.progress, 0, IN_MEMORY, BEGUN) !== IN_MEMORY) return;
  const { words, slots } = table;
  const written = new Int32Array(SLOTS_AT_ONCE * WORDS_PER_SLOT);
  for (let first = 0; first < slots; first += SLOTS_AT_ONCE) {
    const count = Math.min(SLOTS_AT_ONCE, slots - first);
    for (let slot = 0; slot < count; slot++) {
      const from = (first + slot) * WORDS_PER_SLOT;
      const to = slot * WORDS_PER_SLOT;
      // A thread that still is at one either fills it, or finds that the table is full.
      do written[to + STATE] = Atomics.load(words, from + STATE);
      while (written[to + STATE] === WRITING);
      for (let number = 0; number < STATE; number++) written[to + number] = words[from + number];
      file.tags[first + slot] = written[to + STATE] === FREE ? 0 : tagOf(words[from + 1]);
    }
    if (!write(file, first, written.subarray(0, count * WORDS_PER_SLOT))) return;
  }
  Atomics.store(file.progress, 0, IN_FILE);
  emptySharedMemory(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
}

function write({ fd, at }: ClaimFile, firstSlot: number, words: Int32Array): boolean {
  const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
  try {
    for (let done = 0; done < bytes.length;) {
      done += writeSync(fd, bytes, done, bytes.length - done, at + firstSlot * SLOT_BYTES + done);
    }
    return true;
  } catch {
    // A full disc or a quota.
    return false;
  }
}

const slotRead = new Int32Array(WORDS_PER_SLOT);

/** Whether the blob whose id stands in `ids` from `at` is in a table that was put away. */
export function isInFile(file: ClaimFile, ids: Uint8Array, at = 0): boolean {
  const { tags, slots } = file;
  const b = word(ids, at + 4);
  const tag = tagOf(b);
  let slot = homeOf(file, ids, at);
  for (;;) {
    if (tags[slot] === 0) return false;
    if (tags[slot] === tag) {
      const read = readSync(file.fd, slotRead, 0, SLOT_BYTES, file.at + slot * SLOT_BYTES);
      if (read !== SLOT_BYTES) throw new Error("a temporary file does not hold what was written to it");
      const [first, second, third, last] = slotRead;
      const isSame = second === b && first === word(ids, at) && third === word(ids, at + 8);
      if (isSame && last === lastWord(ids, at)) return true;
    }
    if (++slot === slots) slot = 0;
  }
}

/** Of the second word of an id, as the first tells the slot. */
const tagOf = (secondWord: number): number => secondWord & 0xff || 1;
