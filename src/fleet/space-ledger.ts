import type { FrameTable } from "../repository/frame-table.ts";
import { forEachFrameOf } from "../repository/live-frames.ts";
import type { SnapshotRecord } from "../repository/snapshots.ts";

/** What each snapshot alone keeps from being freed, snapshot after snapshot, without a key. */
export interface SpaceLedger {
  /** Bytes of frames that some snapshot needs, each frame once. */
  readonly liveBytes: number;
  /** Bytes of frames that no snapshot needs: they are freed by the next prune. */
  readonly garbageBytes: number;
  /** Takes a snapshot out, and gives how many bytes nobody needs any more. 0 for one that is unknown, or out already. */
  release(id: string): number;
}

/** Of frames in several packs only one copy counts. */
export function createSpaceLedger(frames: FrameTable, snapshots: readonly SnapshotRecord[]): SpaceLedger {
  const users = new Uint32Array(frames.count());
  const standing = new Map(snapshots.map((snapshot) => [snapshot.id, snapshot]));

  for (const snapshot of snapshots) forEachFrameOf(frames, snapshot, (frame) => users[frame]++);
  let totalBytes = 0;
  let liveBytes = 0;
  for (let frame = 0; frame < users.length; frame++) {
    const { length } = frames.locate(frame);
    totalBytes += length;
    if (users[frame] > 0) liveBytes += length;
  }

  return {
    liveBytes,
    garbageBytes: totalBytes - liveBytes,
    release(id) {
      const snapshot = standing.get(id);
      if (snapshot === undefined) return 0;
      standing.delete(id);
      let freedBytes = 0;
      forEachFrameOf(frames, snapshot, (frame) => {
        if (--users[frame] === 0) freedBytes += frames.locate(frame).length;
      });
      return freedBytes;
    },
  };
}
