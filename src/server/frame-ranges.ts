import { decodeFrameSet } from "../format/frame-set.ts";

/** Which frames there are, by origin in hex: first number and end of runs. */
export interface FrameRanges {
  add(frames: Uint8Array): void;
  /** How many frames of this set (as `encodeFrameSet` writes them) are not there. */
  missing(frames: Uint8Array, what: string): number;
}

export function createFrameRanges(): FrameRanges {
  const byOrigin = new Map<string, { ranges: [first: number, end: number][]; merged: boolean }>();

  /** Ascending, neither overlapping nor touching. */
  function rangesOf(origin: string): readonly [number, number][] {
    const entry = byOrigin.get(origin);
    if (entry === undefined) return [];
    if (!entry.merged) {
      const merged: [number, number][] = [];
      for (const [first, end] of entry.ranges.sort((a, b) => a[0] - b[0])) {
        const last = merged.at(-1);
        if (last !== undefined && first <= last[1]) last[1] = Math.max(last[1], end);
        else merged.push([first, end]);
      }
      entry.ranges = merged;
      entry.merged = true;
    }
    return entry.ranges;
  }

  return {
    add(frames) {
      for (const [origin, first, count] of rangesOfSet(frames, "frames of a pack")) {
        const entry = byOrigin.get(origin) ?? { ranges: [], merged: false };
        entry.ranges.push([first, first + count]);
        entry.merged = false;
        byOrigin.set(origin, entry);
      }
    },
    missing(frames, what) {
      let missing = 0;
      for (const [origin, first, count] of rangesOfSet(frames, what)) {
        missing += count - covered(rangesOf(origin), first, first + count);
      }
      return missing;
    },
  };
}

function* rangesOfSet(frames: Uint8Array, what: string): Generator<[origin: string, first: number, count: number]> {
  const set = decodeFrameSet(frames, what);
  for (let index = 0; index < set.originCount; index++) {
    const origin = set.origins.toString("hex", index * 32, index * 32 + 32);
    for (let range = set.rangeStarts[index]; range < set.rangeStarts[index + 1]; range++) {
      yield [origin, set.firsts[range], set.counts[range]];
    }
  }
}

function covered(ranges: readonly [number, number][], first: number, end: number): number {
  // The first range that ends behind `first`.
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[middle][1] <= first) low = middle + 1;
    else high = middle;
  }
  let sum = 0;
  for (let at = low; at < ranges.length && ranges[at][0] < end; at++) {
    sum += Math.min(end, ranges[at][1]) - Math.max(first, ranges[at][0]);
  }
  return sum;
}
