import { randomInt } from "node:crypto";
import type { FrameKind } from "../format/frame.ts";
import type { FrameForward, FrameName } from "../format/pack.ts";

/**
 * All frames that an index knows, numbered from 0, in columns: about twenty bytes a frame.
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
   * Frames into which what was needed of a frame was laid, by its name; undefined where there is no such note. Where
   * several notes tell of it, what any of them says. A frame of them that is nowhere, or `superseded`, stands for those
   * into which it was laid itself, and for -1 where no note tells.
   */
  forwardsOf(originIndex: number, number: number, superseded?: Superseded): readonly number[] | undefined;
  /**
   * Calls back for each number of a range that has a frame, or that notes tell of (then `frame` is -1). Costs no more for
   * a range of two thousand million numbers than for one that is no longer than what the table knows.
   */
  forEachNumber(
    originIndex: number,
    first: number,
    count: number,
    visit: (number: number, frame: number) => void,
  ): void;
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

/**
 * Frames that are there, but for which others stand: with the frames that do, or with undefined where it is for the notes
 * in packs to say. Whoever has laid a frame anew knows it better: notes may be left of an earlier time, when less of the
 * frame was needed, or of the same work that was broken off; and what those name could never go.
 */
export type Superseded = ReadonlyMap<number, readonly number[] | undefined>;

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
const NUMBER_BITS = 0x7fff_ffff;

export function createFrameTable(): FrameTable {
  const packs: PackRow[] = [];
  const packNumbers = new Map<string, number>();
  const origins: Buffer[] = [];
  const originNumbers = new Map<string, number>();
  const names = createNameMap(
    (frame) => originOfFrame[frame],
    (frame) => numbers[frame] & NUMBER_BITS,
  );
  /** Numbers without a frame that notes tell of, with their origins. */
  const reached: { readonly originIndex: number; readonly number: number }[] = [];
  let sorted: SortedNumbers | undefined;
  const copies = new Map<number, number[]>();
  /** By origin's number and frame's number: what each note says. */
  const forwards = new Map<string, (readonly FrameName[])[]>();
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

  function addCopy(frame: number, copy: number): void {
    const known = copies.get(frame);
    if (known === undefined) copies.set(frame, [copy]);
    else known.push(copy);
  }

  function findIn(originIndex: number, number: number): number {
    return originIndex < 0 ? -1 : names.get(originIndex, number);
  }

  function noteForward(forward: FrameForward<Uint8Array>, last: FrameName<Uint8Array>): void {
    const originIndex = originNumber(Buffer.from(forward.origin));
    reached.push({ originIndex, number: forward.number });
    const targets = [...forward.others, last].map(({ origin, number }) => ({ origin: Buffer.from(origin), number }));
    const key = `${originIndex}:${forward.number}`;
    const known = forwards.get(key);
    if (known === undefined) forwards.set(key, [targets]);
    else known.push(targets);
  }

  function forwardsOf(
    originIndex: number,
    number: number,
    superseded: Superseded = NONE,
  ): readonly number[] | undefined {
    const own = superseded.get(findIn(originIndex, number));
    if (own !== undefined) return own;
    const notes = forwards.get(`${originIndex}:${number}`);
    if (notes === undefined) return undefined;
    const found = new Set<number>();
    // Notes may come from anybody who can write: they may go round in circles.
    const seen = new Set<string>();
    let isWhole = false;
    for (const targets of notes) isWhole = targets.map(resolve).every(Boolean) || isWhole;
    return isWhole ? [...found] : [...found, -1];

    /** Whether the frame, or what it stands for, was found. */
    function resolve(target: FrameName): boolean {
      const targetOrigin = originNumbers.get(target.origin.latin1Slice()) ?? -1;
      const frame = findIn(targetOrigin, target.number);
      if (frame >= 0 && !superseded.has(frame)) {
        found.add(frame);
        return true;
      }
      const standIns = superseded.get(frame);
      if (standIns !== undefined) {
        for (const standIn of standIns) if (standIn >= 0) found.add(standIn);
        return !standIns.includes(-1);
      }
      const key = `${targetOrigin}:${target.number}`;
      if (seen.has(key)) return true;
      seen.add(key);
      let isFound = false;
      for (const targets of forwards.get(key) ?? []) isFound = targets.map(resolve).every(Boolean) || isFound;
      return isFound;
    }
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
      sorted = undefined;
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
        const known = names.get(originIndex, frame.number);
        if (known < 0) names.add(count);
        else addCopy(known, count);
        for (const forward of frame.forwards ?? []) noteForward(forward, frame);
        count++;
      }
      packNumbers.set(key, packs.length);
      packs.push({
        name: Buffer.from(pack.name),
        sizeBytes: pack.sizeBytes,
        firstFrame,
        frames: pack.frames.length,
        endOffset,
      });
      return firstFrame;
    },
    find: (origin, number) => findIn(originNumbers.get(origin.latin1Slice()) ?? -1, number),
    findOrigin: (origin) => originNumbers.get(origin.latin1Slice()) ?? -1,
    findIn,
    forEachNumber(originIndex, first, length, visit) {
      if (originIndex < 0) return;
      sorted ??= sortNumbers(
        origins.length,
        count + reached.length,
        (index) => (index < count ? originOfFrame[index] : reached[index - count].originIndex),
        (index) => (index < count ? numbers[index] & NUMBER_BITS : reached[index - count].number),
      );
      const end = sorted.starts[originIndex + 1];
      let at = firstNotBelow(sorted.numbers, sorted.starts[originIndex], end, first);
      for (let before = -1; at < end && sorted.numbers[at] < first + length; at++) {
        const number = sorted.numbers[at];
        if (number !== before) visit(number, names.get(originIndex, number));
        before = number;
      }
    },
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
        number: numbers[frame] & NUMBER_BITS,
      };
    },
    copiesOf: (frame) => copies.get(frame) ?? [],
    packOf,
    packIndexOf,
    kindOf: (frame) => (numbers[frame] >= TREE_BIT ? "tree" : "data"),
    originIndexOf: (frame) => originOfFrame[frame],
    numberOf: (frame) => numbers[frame] & NUMBER_BITS,
  };
}

function grown(column: Uint32Array<ArrayBuffer>, size: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(size);
  larger.set(column);
  return larger;
}

const NONE: Superseded = new Map();

/** Frames by origin and number: an open-addressing hash table of frames' numbers in the frame table. */
interface NameMap {
  /** -1 where there is none. */
  get(originIndex: number, number: number): number;
  /** Of a frame whose name is not there yet. */
  add(frame: number): void;
}

/** The names stand in the columns of the frame table, which `originOf` and `numberOf` give. */
function createNameMap(originOf: (frame: number) => number, numberOf: (frame: number) => number): NameMap {
  /** Each a frame plus 1, or 0. */
  let slots = new Uint32Array(1024);
  let used = 0;
  // Numbers come from whoever can write, who must not know which of them meet in a slot.
  const seed = randomInt(2 ** 32);

  function homeOf(originIndex: number, number: number): number {
    let hash = Math.imul(originIndex ^ seed, 0x9e3779b1) ^ number;
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ seed ^ (hash >>> 13), 0xc2b2ae35);
    return ((hash ^ (hash >>> 16)) >>> 0) & (slots.length - 1);
  }

  function place(frame: number): void {
    let slot = homeOf(originOf(frame), numberOf(frame));
    while (slots[slot] !== 0) slot = (slot + 1) & (slots.length - 1);
    slots[slot] = frame + 1;
  }

  return {
    get(originIndex, number) {
      for (let slot = homeOf(originIndex, number); slots[slot] !== 0; slot = (slot + 1) & (slots.length - 1)) {
        const frame = slots[slot] - 1;
        if (numberOf(frame) === number && originOf(frame) === originIndex) return frame;
      }
      return -1;
    },
    add(frame) {
      if (++used > slots.length * 0.6) {
        const before = slots;
        slots = new Uint32Array(before.length * 2);
        for (const known of before) if (known !== 0) place(known - 1);
      }
      place(frame);
    },
  };
}

/** All numbers of each origin in ascending order, grouped by origin; the same number may stand there twice. */
interface SortedNumbers {
  readonly starts: Uint32Array;
  readonly numbers: Uint32Array;
}

function sortNumbers(
  origins: number,
  count: number,
  originOf: (index: number) => number,
  numberOf: (index: number) => number,
): SortedNumbers {
  const starts = new Uint32Array(origins + 1);
  for (let index = 0; index < count; index++) starts[originOf(index) + 1]++;
  for (let origin = 0; origin < origins; origin++) starts[origin + 1] += starts[origin];
  const numbers = new Uint32Array(count);
  const filled = starts.slice(0, origins);
  for (let index = 0; index < count; index++) numbers[filled[originOf(index)]++] = numberOf(index);
  for (let origin = 0; origin < origins; origin++) {
    if (starts[origin + 1] - starts[origin] > 1) numbers.subarray(starts[origin], starts[origin + 1]).sort();
  }
  return { starts, numbers };
}

/** Place of the first of ascending numbers, from `low` to before `high`, that is not below `limit`. */
function firstNotBelow(numbers: Uint32Array, low: number, high: number, limit: number): number {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle] < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
