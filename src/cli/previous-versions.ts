import { openSnapshotView } from "../browse/open-snapshot-view.ts";
import type { SnapshotView } from "../browse/snapshot-view.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { openFrameReader } from "../repository/frame-reader.ts";
import type { Repository } from "../repository/repository.ts";
import { openSnapshot, type SnapshotRecord } from "../repository/snapshots.ts";
import type { Basis } from "../source/rsync/index.ts";

/** The files of the snapshot that a backup is compared with, once that is known. */
export interface PreviousVersions {
  /** The content of the file at a path; undefined where there is none, or where it may not be read. */
  readonly content: (path: RawPath) => Promise<Basis | undefined>;
  readonly setParent: (repository: Repository, parent: SnapshotRecord) => void;
}

export function previousVersions(): PreviousVersions {
  let open: (() => Promise<SnapshotView>) | undefined;
  let opened: Promise<SnapshotView> | undefined;
  return {
    setParent: (repository, parent) => {
      // A write-only key cannot read what it compares with; then everything changed is sent whole.
      if (repository.ring.privateKey === undefined) return;
      open = async () => {
        const reader = await openFrameReader(repository);
        return openSnapshotView(reader, openSnapshot(repository, parent).sealed.root);
      };
    },
    content: async (path) => {
      if (open === undefined) return undefined;
      opened ??= open();
      const view = await opened;
      const entry = await view.lookup(path);
      if (entry?.type !== "file") return undefined;
      return { sizeBytes: entry.sizeBytes, read: (offset, length) => view.read(entry, offset, length) };
    },
  };
}
