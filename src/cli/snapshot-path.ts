import { openSnapshotView } from "../browse/open-snapshot-view.ts";
import type { SnapshotView } from "../browse/snapshot-view.ts";
import { SnapshotNotFoundError, UsageError } from "../errors.ts";
import type { TreeEntry } from "../format/tree.ts";
import { displayPath, type RawPath } from "../platform/raw-path.ts";
import { openFrameReader, type FrameReader } from "../repository/frame-reader.ts";
import type { Repository } from "../repository/repository.ts";
import { findSnapshot, type Snapshot, type SnapshotFilter } from "../repository/snapshots.ts";
import { rawArgument } from "./raw-argument.ts";

/** A snapshot as seen from its top, or from a folder in it. */
export interface OpenedView {
  readonly snapshot: Snapshot;
  readonly view: SnapshotView;
  readonly reader: FrameReader;
  /** The folder that is the view's top, without a slash at the start; "" for the snapshot's own. */
  readonly below: RawPath;
}

/** From `SNAPSHOT` or `SNAPSHOT:PATH`. Throws `SnapshotNotFoundError`, or `UsageError` where the path is no folder. */
export async function openNamedView(
  repository: Repository,
  name: string,
  filter: SnapshotFilter = {},
  sharedReader?: FrameReader,
): Promise<OpenedView> {
  const { snapshotName, below } = splitSnapshotPath(name);
  const snapshot = await findSnapshot(repository, snapshotName, filter);
  const reader = sharedReader ?? (await openFrameReader(repository));
  const whole = openSnapshotView(reader, snapshot.sealed.root);
  if (below === "") return { snapshot, view: whole, reader, below };
  const folder = await requireEntry(whole, below, snapshotName);
  if (folder.type !== "directory")
    throw new UsageError(`/${displayPath(below)} is no folder in snapshot ${snapshotName}`, {
      hint: "name the folder above it; restore --include chooses a file in it, and dump prints one",
    });
  return { snapshot, view: openSnapshotView(reader, folder), reader, below };
}

export function splitSnapshotPath(name: string): { snapshotName: string; below: RawPath } {
  const colon = name.indexOf(":");
  if (colon === -1) return { snapshotName: name, below: "" as RawPath };
  const raw = rawArgument(name);
  return { snapshotName: name.slice(0, colon), below: withoutSlashes(raw.slice(raw.indexOf(":") + 1) as RawPath) };
}

/** Throws `SnapshotNotFoundError` where nothing is at this path. */
export async function requireEntry(view: SnapshotView, path: RawPath, snapshotName: string): Promise<TreeEntry> {
  const entry = await view.lookup(path);
  if (entry !== undefined) return entry;
  throw new SnapshotNotFoundError(`there is no /${displayPath(path)} in snapshot ${snapshotName}`, {
    hint: `see "holdfast ls ${snapshotName}" for what is in it`,
  });
}

export function withoutSlashes(path: RawPath): RawPath {
  return path
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/") as RawPath;
}
