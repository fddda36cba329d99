import { messageOf } from "../errors.ts";
import type { Repository } from "../repository/repository.ts";
import {
  findSnapshot,
  matchesFilter,
  openSnapshots,
  SHORT_ID_LENGTH,
  type Snapshot,
  type SnapshotFilter,
} from "../repository/snapshots.ts";
import type { Output } from "./output/output.ts";

export interface ChosenSnapshots {
  /** Oldest first, each once. */
  readonly snapshots: readonly Snapshot[];
  /** How many could not be read, and were told of. */
  readonly damaged: number;
}

/**
 * Those that are named, or else all that match the filter. Damaged ones are told of and left out, but not if named.
 * Throws `SnapshotNotFoundError` for a name that fits none.
 */
export async function chooseSnapshots(
  repository: Repository,
  names: readonly string[],
  filter: SnapshotFilter,
  output: Output,
): Promise<ChosenSnapshots> {
  if (names.length > 0) {
    const named = new Map<string, Snapshot>();
    for (const name of names) {
      const snapshot = await findSnapshot(repository, name, filter);
      named.set(snapshot.id, snapshot);
    }
    return { snapshots: [...named.values()].toSorted((a, b) => a.timeMs - b.timeMs), damaged: 0 };
  }
  let damaged = 0;
  const all = await openSnapshots(repository, (id, error) => {
    damaged++;
    const message = `snapshot ${id.slice(0, SHORT_ID_LENGTH)} is left out: ${messageOf(error)}`;
    output.warning(`Warning: ${message}`, { message_type: "error", error: { message }, during: "list", item: id });
  });
  return { snapshots: all.filter((snapshot) => matchesFilter(snapshot, filter)), damaged };
}
