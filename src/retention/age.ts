import { newestFirst, type RetentionSnapshot } from "./snapshot.ts";

/**
 * Snapshots older than `maxAgeMs`, oldest first: these may go. The newest of each group never does, so that a host that
 * fell silent keeps its last.
 */
export function olderThan<S extends RetentionSnapshot>(snapshots: readonly S[], maxAgeMs: number, nowMs: number): S[] {
  const groups = Map.groupBy(newestFirst(snapshots), (snapshot) => JSON.stringify([snapshot.host, snapshot.group]));
  const newest = new Set([...groups.values()].map((members) => members[0]));
  return newestFirst(snapshots)
    .toReversed()
    .filter((snapshot) => nowMs - snapshot.timeMs > maxAgeMs && !newest.has(snapshot));
}
