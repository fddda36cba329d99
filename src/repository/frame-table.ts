import type { FrameKind } from "../format/frame.ts";
import type { FrameForward, FrameName } from "../format/pack.ts";

/**
 * All frames that an index knows, numbered from 0, in columns: nine bytes a frame, so that ten million fit into 90 MB.
 *
 * Frames of one pack have consecutive numbers in the order of their offsets, and fill the pack without gaps; so a
 * frame's length is the next one's offset less its own. A frame's *name* (origin and number, see docs/format.md) is
 * for life; its number here is only good for this table.
 */
export interface FrameTable {
  /** Packs in the order in which they were added. */
  readonly packs: PackRow[];
  /** Origins by their number in this table; 32 bytes each. */
  readonly origins: Buffer[];
  /** How many frames there are. */
  count(): number;
  /** Adds a pack; a pack that is there already is not added again, and -1 is returned, else the number of its first frame. */
  addPack(pack: NewPack): number;
  hasPack(name: Buffer): boolean;
  /** The frame of that name, or -1. Where several packs hold it: one of them. */
  find(origin: Buffer, number: number): number;
  /** Number of an origin in this table, or -1. */
  findOrigin(origin: Buffer): number;
  /** As `find`, when the origin's number in this table is at hand. */
  findIn(originIndex: number, number: number): number;
  /**
   * Frames into which what was needed of a frame that is no more was laid, by its name; undefined where there is no such
   * note. A frame of them that is nowhere is -1.
   */
  forwardsOf(originIndex: number, number: number): readonly number[] | undefined;
  /** One more than the highest number that a frame of an origin has, or had before it was laid into others. */
  numbersEnd(originIndex: number): number;
  locate(frame: number): FrameRow;
  /** Other packs' copies of the same frame, if there are any. */
  copiesOf(frame: number): readonly number[];
  packOf(frame: number): PackRow;
  /** Place of that pack in `packs`. */
  packIndexOf(frame: number): number;
  kindOf(frame: number): FrameKind;
  originIndexOf(frame: number): number;
  numberOf(frame: number): number;
}

export interface PackRow {
  /** SHA-256 of the pack's bytes. */
  readonly name: Buffer;
  readonly sizeBytes: number;
  readonly firstFrame: number;
  readonly frames: number;
  /** Where the last frame ends. */
  readonly endOffset: number;
}

export interface NewPack {
  readonly name: Buffer;
  readonly sizeBytes: number;
  readonly frames: readonly {
    readonly kind: FrameKind;
    readonly origin: Buffer;
    readonly number: number;
    readonly offset: number;
    readonly length: number;
    readonly forwards?: readonly FrameForward<Uint8Array>[] | undefined;
  }[];
}

export interface FrameRow {
  readonly pack: PackRow;
  readonly offset: number;
  /** Length of the whole frame record. */
  readonly length: number;
  readonly kind: FrameKind;
  readonly origin: Buffer;
  readonly number: number;
}

/** Top bit of the number column: set for tree frames. Numbers stay below 2^31. */
const TREE_BIT = 0x8000_0000;

export function createFrameTable(): FrameTable {
  const packs: PackRow[] = [];
  const packNumbers = new Map<string, number>();
  const origins: Buffer[] = [];
  const originNumbers = new Map<string, number>();
  const framesOfOrigin: NumberMap[] = [];
  const copies = new Map<number, number[]>();
  /** By origin's number and frame's number. */
  const forwards = new Map<string, readonly FrameName[]>();
  let count = 0;
  let offsets = new Uint32Array(1024);
  let numbers = new Uint32Array(1024);
  let originOfFrame = new Uint32Array(1024);

  function originNumber(origin: Buffer): number {
    const key = origin.latin1Slice();
    let index = originNumbers.get(key);
    if (index === undefined) {
      index = origins.length;
      originNumbers.set(key, index);
      origins.push(Buffer.from(origin));
      framesOfOrigin.push(createNumberMap());
    }
    return index;
  }

  function packIndexOf(frame: number): number {
    let low = 0;
    let high = packs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (packs[middle].firstFrame <= frame) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  const packOf = (frame: number): PackRow => packs[packIndexOf(frame)];

  function findIn(originIndex: number, number: number): number {
    return originIndex < 0 ? -1 : framesOfOrigin[originIndex].get(number);
  }

  function noteForward(forward: FrameForward<Uint8Array>, last: FrameName): void {
    const originIndex = originNumber(Buffer.from(forward.origin));
    framesOfOrigin[originIndex].reach(forward.number);
    const targets = [...forward.others, last].map(({ origin, number }) => ({ origin: Buffer.from(origin), number }));
    forwards.set(`${originIndex}:${forward.number}`, targets);
  }

  function forwardsOf(originIndex: number, number: number): readonly number[] | undefined {
    return forwards.get(`${originIndex}:${number}`)?.flatMap((target) => {
      const targetOrigin = originNumbers.get(target.origin.latin1Slice()) ?? -1;
      const frame = findIn(targetOrigin, target.number);
      // It may have been laid anew itself.
      return frame >= 0 ? [frame] : (forwardsOf(targetOrigin, target.number) ?? [-1]);
    });
  }

  return {
    packs,
    origins,
    forwardsOf,
    count: () => count,
    hasPack: (name) => packNumbers.has(name.latin1Slice()),
    addPack(pack) {
      const key = pack.name.latin1Slice();
      if (packNumbers.has(key)) return -1;
      const firstFrame = count;
      const needed = count + pack.frames.length;
      if (needed > offsets.length) {
        const size = Math.max(needed, offsets.length * 2);
        offsets = grown(offsets, size);
        numbers = grown(numbers, size);
        originOfFrame = grown(originOfFrame, size);
      }
      let endOffset = 0;
      for (const frame of pack.frames) {
        const originIndex = originNumber(frame.origin);
        offsets[count] = frame.offset;
        numbers[count] = (frame.kind === "tree" ? TREE_BIT : 0) + frame.number;
        originOfFrame[count] = originIndex;
        endOffset = frame.offset + frame.length;
        const known = framesOfOrigin[originIndex].get(frame.number);
        if (known < 0) framesOfOrigin[originIndex].set(frame.number, count);
        else copies.set(known, [...(copies.get(known) ?? []), count]);
        for (const forward of frame.forwards ?? []) noteForward(forward, frame);
        count++;
      }
      packNumbers.set(key, packs.length);
      packs.push({ name: Buffer.from(pack.name), sizeBytes: pack.sizeBytes, firstFrame, frames: pack.frames.length, endOffset });
      return firstFrame;
    },
    find: (origin, number) => findIn(originNumbers.get(origin.latin1Slice()) ?? -1, number),
    findOrigin: (origin) => originNumbers.get(origin.latin1Slice()) ?? -1,
    findIn,
    numbersEnd: (originIndex) => framesOfOrigin[originIndex].end(),
    locate(frame) {
      const pack = packOf(frame);
      const offset = offsets[frame];
      const end = frame + 1 < pack.firstFrame + pack.frames ? offsets[frame + 1] : pack.endOffset;
      return {
        pack,
        offset,
        length: end - offset,
        kind: numbers[frame] >= TREE_BIT ? "tree" : "data",
        origin: origins[originOfFrame[frame]],
        number: numbers[frame] & 0x7fff_ffff,
      };
    },
    copiesOf: (frame) => copies.get(frame) ?? [],
    packOf,
    packIndexOf,
    kindOf: (frame) => (numbers[frame] >= TREE_BIT ? "tree" : "data"),
    originIndexOf: (frame) => originOfFrame[frame],
    numberOf: (frame) => numbers[frame] & 0x7fff_ffff,
  };
}

function grown(column: Uint32Array<ArrayBuffer>, size: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(size);
  larger.set(column);
  return larger;
}

/** From a frame's number in its origin to its number in the table: dense while the numbers are, else a map. */
interface NumberMap {
  /** -1 where there is none. */
  get(number: number): number;
  set(number: number, value: number): void;
  /** One more than the highest number. */
  end(): number;
  /** Makes `end` count a number that has no frame. */
  reach(number: number): void;
}

function createNumberMap(): NumberMap {
  let dense = new Int32Array(16).fill(-1);
  let entries = 0;
  let end = 0;
  // A hostile pack may number its frames wildly; those must not cost memory.
  const sparse = new Map<number, number>();
  return {
    get: (number) => (number < dense.length && dense[number] >= 0 ? dense[number] : (sparse.get(number) ?? -1)),
    set(number, value) {
      entries++;
      end = Math.max(end, number + 1);
      if (number >= dense.length && number < 1024 + entries * 8) {
        const larger = new Int32Array(Math.max(number + 1, dense.length * 2)).fill(-1);
        larger.set(dense);
        dense = larger;
      }
      if (number < dense.length) dense[number] = value;
      else sparse.set(number, value);
    },
    end: () => end,
    reach(number) {
      end = Math.max(end, number + 1);
    },
  };
}
