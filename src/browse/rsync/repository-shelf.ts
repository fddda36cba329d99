import { openFrameReader, type FrameReader } from "../../repository/frame-reader.ts";
import type { Repository } from "../../repository/repository.ts";
import { matchesFilter, openSnapshots, type SnapshotFilter } from "../../repository/snapshots.ts";
import { openSnapshotView } from "../open-snapshot-view.ts";
import { datedNames } from "./snapshot-shelf.ts";
import type { SnapshotShelf } from "./snapshot-shelf.ts";

/** The snapshots of a repository that a filter lets through: those of one host, for whom only they are. */
export function repositoryShelf(repository: Repository, filter: SnapshotFilter): SnapshotShelf {
  let reader: Promise<FrameReader> | undefined;
  return {
    async list() {
      const all = await openSnapshots(repository);
      const shelved = all.filter((snapshot) => matchesFilter(snapshot, filter)).toSorted((a, b) => a.timeMs - b.timeMs);
      const names = datedNames(shelved.map(({ timeMs }) => timeMs));
      return shelved.map((snapshot, i) => ({
        name: names[i],
        timeMs: snapshot.timeMs,
        async open() {
          reader ??= openFrameReader(repository);
          return openSnapshotView(await reader, snapshot.sealed.root);
        },
      }));
    },
  };
}
