import type { BlobId } from "../format/tree.ts";

/** Which blobs stand on which of two sides, at 16 bytes of memory a slot: for counting, not for looking up. */
export interface BlobTally {
  add(side: TallySide, id: BlobId, lengthBytes: number): void;
  /** Blobs that stand on this side alone. */
  only(side: TallySide): TallyTotals;
}

export type TallySide = "before" | "after";

export interface TallyTotals {
  readonly blobs: number;
  readonly bytes: number;
}

const WORDS_PER_SLOT = 4;
const SIDES = 2;
const LENGTH = 3;
const SIDE_BITS = { before: 1, after: 2 } as const;

export function createBlobTally(): BlobTally {
  // Two words of the id (ids are keyed hashes: 64 bits of them do not meet by chance), which sides, length.
  let slots = 1024;
  let words = new Uint32Array(slots * WORDS_PER_SLOT);
  let used = 0;

  function slotOf(high: number, low: number): number {
    let slot = high % slots;
    for (;;) {
      const at = slot * WORDS_PER_SLOT;
      if (words[at + SIDES] === 0 || (words[at] === high && words[at + 1] === low)) return at;
      slot = (slot + 1) % slots;
    }
  }

  function grow(): void {
    const old = words;
    slots *= 2;
    words = new Uint32Array(slots * WORDS_PER_SLOT);
    for (let at = 0; at < old.length; at += WORDS_PER_SLOT) {
      if (old[at + SIDES] !== 0) words.set(old.subarray(at, at + WORDS_PER_SLOT), slotOf(old[at], old[at + 1]));
    }
  }

  return {
    add(side, id, lengthBytes) {
      if (used * 4 > slots * 3) grow();
      const view = new DataView(id.buffer, id.byteOffset, id.byteLength);
      const high = view.getUint32(0);
      const low = view.getUint32(4);
      const at = slotOf(high, low);
      if (words[at + SIDES] === 0) {
        used++;
        words[at] = high;
        words[at + 1] = low;
        words[at + LENGTH] = lengthBytes;
      }
      words[at + SIDES] |= SIDE_BITS[side];
    },
    only(side) {
      let blobs = 0;
      let bytes = 0;
      for (let at = 0; at < words.length; at += WORDS_PER_SLOT) {
        if (words[at + SIDES] !== SIDE_BITS[side]) continue;
        blobs++;
        bytes += words[at + LENGTH];
      }
      return { blobs, bytes };
    },
  };
}
