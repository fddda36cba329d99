import { openSnapshotView } from "../browse/open-snapshot-view.ts";
import type { SnapshotView } from "../browse/snapshot-view.ts";
import type { FileEntry } from "../format/tree.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { openFrameReader } from "../repository/frame-reader.ts";
import type { Repository } from "../repository/repository.ts";
import { openSnapshot, type SnapshotRecord } from "../repository/snapshots.ts";
import type { Basis } from "../source/rsync/index.ts";

/** The files of the snapshot that a backup is compared with, once that is known. */
export interface PreviousVersions {
  /** All of it; undefined where there is none, or where it may not be read. */
  readonly view: () => Promise<SnapshotView | undefined>;
  /** Its content, from which an rsync takes what has not changed. Undefined at once where there is no older snapshot. */
  readonly content: (path: RawPath) => Promise<Basis | undefined> | undefined;
  readonly setParent: (repository: Repository, parent: SnapshotRecord) => void;
}

export function previousVersions(): PreviousVersions {
  let open: (() => Promise<SnapshotView>) | undefined;
  let opened: Promise<SnapshotView> | undefined;

  async function viewOf(): Promise<SnapshotView | undefined> {
    if (open === undefined) return undefined;
    opened ??= open();
    return opened;
  }

  async function find(path: RawPath): Promise<{ view: SnapshotView; entry: FileEntry } | undefined> {
    const view = await viewOf();
    if (view === undefined) return undefined;
    const entry = await view.lookup(path);
    return entry?.type === "file" ? { view, entry } : undefined;
  }

  async function content(path: RawPath): Promise<Basis | undefined> {
    const found = await find(path);
    if (found === undefined) return undefined;
    const { view, entry } = found;
    return { sizeBytes: entry.sizeBytes, read: (offset, length) => view.read(entry, offset, length) };
  }

  return {
    setParent: (repository, parent) => {
      // A write-only key cannot read what it compares with; then everything changed is sent whole.
      if (repository.ring.privateKey === undefined) return;
      open = async () => {
        const reader = await openFrameReader(repository);
        return openSnapshotView(reader, openSnapshot(repository, parent).sealed.root);
      };
    },
    view: viewOf,
    content: (path) => (open === undefined ? undefined : content(path)),
  };
}
