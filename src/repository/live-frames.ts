import { decodeFrameSet } from "../format/frame-set.ts";
import type { FrameTable, Superseded } from "./frame-table.ts";
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
  superseded?: Superseded,
): LiveFrames {
  const live = new Uint8Array(frames.count());
  const missing = new Map<string, number>();
  for (const snapshot of snapshots) {
    const lost = forEachFrameOf(frames, snapshot, (frame) => (live[frame] = 1), superseded);
    if (lost > 0) missing.set(snapshot.id, lost);
  }
  return { live, missing };
}

/**
 * Calls back for each frame that a snapshot needs, and gives how many of those that it names are nowhere. One that others
 * stand for may come up several times. Bounded by what the table knows, however large the numbers in the frame set are.
 */
export function forEachFrameOf(
  frames: FrameTable,
  { id, record }: SnapshotRecord,
  visit: (frame: number) => void,
  superseded?: Superseded,
): number {
  const set = decodeFrameSet(record.frameSetBytes, `frame set of snapshot ${id.slice(0, 8)}`);
  let lost = 0;
  for (let place = 0; place < set.originCount; place++) {
    const origin = frames.findOrigin(set.origins.subarray(place * 32, place * 32 + 32));
    for (let range = set.rangeStarts[place]; range < set.rangeStarts[place + 1]; range++) {
      let found = 0;
      frames.forEachNumber(origin, set.firsts[range], set.counts[range], (number, frame) => {
        found++;
        if (frame >= 0 && superseded?.has(frame) !== true) {
          visit(frame);
          return;
        }
        const targets = frames.forwardsOf(origin, number, superseded) ?? [-1];
        for (const target of targets) if (target >= 0) visit(target);
        if (targets.includes(-1)) lost++;
      });
      lost += set.counts[range] - found;
    }
  }
  return lost;
}
