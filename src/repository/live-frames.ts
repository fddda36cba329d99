import { decodeFrameSet } from "../format/frame-set.ts";
import type { FrameTable } from "./frame-table.ts";
import type { SnapshotRecord } from "./snapshots.ts";

/** Which frames snapshots need, and which of them no pack holds. */
export interface LiveFrames {
  /** One byte a frame of the table: 1 where a snapshot needs it. */
  readonly live: Uint8Array;
  /** How many frames each of these snapshots (by id) needs that are nowhere. */
  readonly missing: ReadonlyMap<string, number>;
}

/**
 * The union of the frame sets: no tree is read, and no key is needed. A frame that is no more, or is `superseded`, stands
 * for those into which it was laid.
 */
export function findLiveFrames(
  frames: FrameTable,
  snapshots: readonly SnapshotRecord[],
  superseded: ReadonlySet<number> = new Set(),
): LiveFrames {
  const live = new Uint8Array(frames.count());
  const missing = new Map<string, number>();
  for (const { id, record } of snapshots) {
    const set = decodeFrameSet(record.frameSetBytes, `frame set of snapshot ${id.slice(0, 8)}`);
    let lost = 0;
    for (let origin = 0; origin < set.originCount; origin++) {
      const originIndex = frames.findOrigin(set.origins.subarray(origin * 32, origin * 32 + 32));
      for (let range = set.rangeStarts[origin]; range < set.rangeStarts[origin + 1]; range++) {
        lost += markRange(frames, live, superseded, originIndex, set.firsts[range], set.counts[range]);
      }
    }
    if (lost > 0) missing.set(id, lost);
  }
  return { live, missing };
}

/** Marks the frames of a range, and gives how many of them are nowhere. A range may be far longer than there are frames. */
function markRange(
  frames: FrameTable,
  live: Uint8Array,
  superseded: ReadonlySet<number>,
  origin: number,
  first: number,
  count: number,
): number {
  const known = origin < 0 ? 0 : Math.min(count, Math.max(0, frames.numbersEnd(origin) - first));
  let lost = count - known;
  for (let number = first; number < first + known; number++) {
    const frame = frames.findIn(origin, number);
    if (frame >= 0 && !superseded.has(frame)) {
      live[frame] = 1;
      continue;
    }
    const targets = frames.forwardsOf(origin, number) ?? [-1];
    for (const target of targets) if (target >= 0) live[target] = 1;
    if (targets.includes(-1)) lost++;
  }
  return lost;
}
