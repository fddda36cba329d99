import { createSpillFile, type SpillFile } from "../../../platform/spill-file.ts";

/** Holds segments, each of which it can put away and read again. */
export interface SegmentOwner {
  /** Writes a segment to the file, unless it lies there as it is, and lets go of it. */
  putAway(number: number, file: SpillFile): void;
}

/** How much of a list is held at first. */
const HELD_BYTES = 4 * 1024 * 1024;
/** More is held once as much as there is has been read again so often: sorting a huge folder goes through it in leaps. */
const READ_AGAIN_TIMES = 4;
const GROWTH = 2;
/** So much memory of each size is kept for segments that come. */
const MOST_SPARE = 8;

const files = new FinalizationRegistry<SpillFile>((file) => file.close());

/**
 * Bounds what segments take in memory: those that came longest ago are put into a temporary file, and come back when they
 * are asked for. The file goes with the pool.
 */
export class SegmentPool {
  readonly #held: { readonly owner: SegmentOwner; readonly number: number; readonly bytes: number }[] = [];
  #first = 0;
  #heldBytes = 0;
  #mostBytes: number;
  /** Of all segments there are, held or not. */
  #allBytes = 0;
  #readAgainBytes = 0;
  readonly #spare = new Map<number, ArrayBuffer[]>();
  #file: SpillFile | undefined;

  constructor(mostBytes: number = HELD_BYTES) {
    this.#mostBytes = mostBytes;
  }

  /** A segment that has come into being, or back: for it, others may have to go. */
  hold(owner: SegmentOwner, number: number, bytes: number): void {
    this.#held.push({ owner, number, bytes });
    this.#heldBytes += bytes;
    this.#allBytes += bytes;
    // Never the one that was held last: it is about to be used.
    while (this.#heldBytes > this.#mostBytes && this.#first < this.#held.length - 1) this.#putAwayFirst();
  }

  #putAwayFirst(): void {
    const { owner, number, bytes } = this.#held[this.#first++];
    this.#heldBytes -= bytes;
    if (this.#first > 1024 && this.#first * 2 > this.#held.length) {
      this.#held.splice(0, this.#first);
      this.#first = 0;
    }
    if (this.#file === undefined) {
      this.#file = createSpillFile();
      files.register(this, this.#file);
    }
    owner.putAway(number, this.#file);
  }

  /** Memory for a segment, with anything in it. */
  memory(bytes: number): ArrayBuffer {
    return this.#spare.get(bytes)?.pop() ?? new ArrayBuffer(bytes);
  }

  /** Takes the memory of a segment that was put away, for those to come: nobody may look at it any more. */
  giveBack(memory: ArrayBuffer): void {
    let spare = this.#spare.get(memory.byteLength);
    if (spare === undefined) this.#spare.set(memory.byteLength, (spare = []));
    if (spare.length < MOST_SPARE) spare.push(memory);
  }

  /** Reads what was put away. */
  readAgain(place: number, into: Uint8Array): void {
    const read = this.#file?.read(place, into) ?? 0;
    if (read !== into.length) throw new Error("a temporary file does not hold what was written to it");
    this.#readAgainBytes += into.length;
    // It is about to be held, for the second time.
    this.#allBytes -= into.length;
    if (this.#readAgainBytes < this.#allBytes * READ_AGAIN_TIMES) return;
    this.#readAgainBytes = 0;
    this.#mostBytes *= GROWTH;
  }
}
