/** Which frames a snapshot needs (docs/format.md, "Snapshot record"): by origin, ranges of numbers. */
import type { ByteReader } from "./codec.ts";
import {
  asBuffer,
  createWriter,
  damagedAt,
  expectEnd,
  readCount,
  readRaw,
  readVarint,
  readerOf,
  writeRaw,
  writeVarint,
  writtenCopy,
} from "./codec.ts";
import { MAXIMUM_FRAME_NUMBER } from "./frame.ts";

/** Frames of one origin to encode: numbers in ascending order (twice the same does no harm), or ranges. */
export type FrameSetOrigin =
  | { readonly origin: Uint8Array; readonly numbers: Uint32Array }
  /** First number and count of each range, in turn; ascending, neither overlapping nor touching. */
  | { readonly origin: Uint8Array; readonly ranges: Uint32Array };

/**
 * A decoded frame set. The frames of origin `i` (32 bytes of `origins` from `32 * i`) are the ranges from
 * `rangeStarts[i]` to before `rangeStarts[i + 1]`; range `r` is `counts[r]` numbers from `firsts[r]` on.
 *
 * Work by ranges where bytes may be hostile: a range of ten bytes may stand for two thousand million frames.
 */
export interface FrameSet {
  readonly originCount: number;
  /** 32 bytes an origin, ascending. */
  readonly origins: Buffer;
  readonly rangeStarts: Uint32Array;
  readonly firsts: Uint32Array;
  readonly counts: Uint32Array;
}

const MAXIMUM_NUMBERS = MAXIMUM_FRAME_NUMBER + 1;

/** Origins in any order, each at most once; those without frames are left out. */
export function encodeFrameSet(origins: readonly FrameSetOrigin[]): Buffer {
  const sorted = origins
    .map((entry) => ({
      origin: asBuffer(entry.origin),
      ranges: "ranges" in entry ? entry.ranges : rangesOf(entry.numbers),
    }))
    .filter((entry) => entry.ranges.length > 0)
    .sort((a, b) => Buffer.compare(a.origin, b.origin));
  const output = createWriter(16 + sorted.length * 40);
  writeVarint(output, sorted.length);
  for (const { origin, ranges } of sorted) {
    writeRaw(output, origin);
    writeVarint(output, ranges.length / 2);
    let end = 0;
    for (let index = 0; index < ranges.length; index += 2) {
      writeVarint(output, ranges[index] - end);
      writeVarint(output, ranges[index + 1]);
      end = ranges[index] + ranges[index + 1];
    }
  }
  return writtenCopy(output);
}

/** First number and count of each run in ascending numbers. */
function rangesOf(numbers: Uint32Array): Uint32Array {
  const ranges: number[] = [];
  for (let index = 0; index < numbers.length;) {
    const first = numbers[index];
    let end = first + 1;
    for (index++; index < numbers.length && numbers[index] <= end; index++) {
      if (numbers[index] < end - 1) throw new RangeError("frame numbers are not in ascending order");
      if (numbers[index] === end) end++;
    }
    ranges.push(first, end - first);
  }
  return Uint32Array.from(ranges);
}

/** Throws `DamagedError`. */
export function decodeFrameSet(bytes: Uint8Array, what = "frame set"): FrameSet {
  const input = readerOf(bytes, what);
  const originCount = readCount(input, 32 + 1 + 2, undefined, "number of origins");
  const origins = Buffer.allocUnsafeSlow(originCount * 32);
  const rangeStarts = new Uint32Array(originCount + 1);
  let capacity = originCount * 2;
  let firsts = new Uint32Array(capacity);
  let counts = new Uint32Array(capacity);
  let ranges = 0;
  for (let index = 0; index < originCount; index++) {
    origins.set(readRaw(input, 32, "origin"), index * 32);
    if (index > 0 && origins.compare(origins, index * 32 - 32, index * 32, index * 32, index * 32 + 32) <= 0) {
      throw damagedAt(input, "its origins are out of order");
    }
    const rangeCount = readCount(input, 2, undefined, "number of ranges");
    if (ranges + rangeCount > capacity) {
      capacity = Math.max(capacity * 2, ranges + rangeCount);
      firsts = grown(firsts, capacity);
      counts = grown(counts, capacity);
    }
    readRanges(input, rangeCount, firsts, counts, ranges);
    ranges += rangeCount;
    rangeStarts[index + 1] = ranges;
  }
  expectEnd(input);
  return { originCount, origins, rangeStarts, firsts: firsts.subarray(0, ranges), counts: counts.subarray(0, ranges) };
}

function readRanges(input: ByteReader, rangeCount: number, firsts: Uint32Array, counts: Uint32Array, at: number): void {
  let end = 0;
  for (let index = 0; index < rangeCount; index++) {
    const gap = readVarint(input, MAXIMUM_FRAME_NUMBER, "gap");
    const count = readVarint(input, MAXIMUM_NUMBERS, "length of a range");
    if (count === 0 || end + gap + count > MAXIMUM_NUMBERS) throw damagedAt(input, "a range of frames is impossible");
    if (index > 0 && gap === 0) throw damagedAt(input, "two ranges of frames touch");
    firsts[at + index] = end + gap;
    counts[at + index] = count;
    end += gap + count;
  }
}

function grown(column: Uint32Array, capacity: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(capacity);
  larger.set(column);
  return larger;
}
