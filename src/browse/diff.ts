import { InterruptedError } from "../errors.ts";
import { joinRaw, type RawPath } from "../platform/raw-path.ts";
import type { DirectoryEntry, FileEntry, TreeEntry } from "../format/tree.ts";
import { createBlobTally, type BlobTally, type TallySide } from "./blob-tally.ts";
import type { SnapshotView } from "./snapshot-view.ts";

/**
 * What became of an entry, in restic's letters: added, removed, content modified (for links and devices: what they point
 * to), content modified though nothing else is different (`M?`: damage, or a program that puts the time back), only
 * attributes updated, type changed.
 */
export type ChangeKind = "+" | "-" | "M" | "M?" | "U" | "T";

export interface Change {
  readonly kind: ChangeKind;
  readonly path: RawPath;
  readonly before: TreeEntry | undefined;
  readonly after: TreeEntry | undefined;
}

export interface DiffOptions {
  readonly onChange: (change: Change) => void;
  /** Also tell of entries of which only attributes have changed. */
  readonly metadata?: boolean;
  /** Is told of a directory that cannot be compared (further). Without it, the comparison ends with the error. */
  readonly onProblem?: (path: RawPath, error: unknown) => void;
  readonly signal?: AbortSignal;
}

export interface DiffStatistics {
  readonly changedFiles: number;
  readonly added: DiffTotals;
  readonly removed: DiffTotals;
}

export interface DiffTotals {
  readonly files: number;
  readonly directories: number;
  readonly others: number;
  /** Blobs that changed directories use on this side only, and their bytes before compression. */
  readonly dataBlobs: number;
  readonly dataBytes: number;
  readonly treeBlobs: number;
}

type Counts = { -readonly [K in keyof Pick<DiffTotals, "files" | "directories" | "others">]: number };

interface Comparison {
  readonly before: SnapshotView;
  readonly after: SnapshotView;
  readonly options: DiffOptions;
  readonly data: BlobTally;
  readonly trees: BlobTally;
  readonly counts: { readonly "+": Counts; readonly "-": Counts };
  changedFiles: number;
}

/**
 * Tells every difference from one snapshot to another in sorted depth-first order. Directories whose trees are one and
 * the same are not read; so a blob that came to a changed directory from an unchanged one counts as added.
 * Errors: as `list` of the view; `InterruptedError`.
 */
export async function diffSnapshots(
  before: SnapshotView,
  after: SnapshotView,
  options: DiffOptions,
): Promise<DiffStatistics> {
  const comparison: Comparison = {
    before,
    after,
    options,
    data: createBlobTally(),
    trees: createBlobTally(),
    counts: { "+": { files: 0, directories: 0, others: 0 }, "-": { files: 0, directories: 0, others: 0 } },
    changedFiles: 0,
  };
  comparison.trees.add("before", before.top.tree, 0);
  comparison.trees.add("after", after.top.tree, 0);
  await compareDirectories(comparison, "" as RawPath, before.top, after.top);
  return {
    changedFiles: comparison.changedFiles,
    added: totals(comparison, "+", "after"),
    removed: totals(comparison, "-", "before"),
  };
}

function totals(comparison: Comparison, kind: "+" | "-", side: TallySide): DiffTotals {
  const data = comparison.data.only(side);
  return {
    ...comparison.counts[kind],
    dataBlobs: data.blobs,
    dataBytes: data.bytes,
    treeBlobs: comparison.trees.only(side).blobs,
  };
}

async function compareDirectories(
  comparison: Comparison,
  path: RawPath,
  before: DirectoryEntry,
  after: DirectoryEntry,
): Promise<void> {
  if (Buffer.compare(before.tree, after.tree) === 0) return;
  await tellingProblems(comparison, path, async () => {
    const olds = comparison.before.list(before)[Symbol.asyncIterator]();
    const news = comparison.after.list(after)[Symbol.asyncIterator]();
    let old = await olds.next();
    let fresh = await news.next();
    while (!old.done || !fresh.done) {
      if (fresh.done || (!old.done && old.value.name < fresh.value.name)) {
        await tellAll(comparison, "-", path, old.value as TreeEntry);
        old = await olds.next();
      } else if (old.done || fresh.value.name < old.value.name) {
        await tellAll(comparison, "+", path, fresh.value);
        fresh = await news.next();
      } else {
        await compareEntries(comparison, joinRaw(path, fresh.value.name), old.value, fresh.value);
        old = await olds.next();
        fresh = await news.next();
      }
    }
  });
}

async function compareEntries(
  comparison: Comparison,
  path: RawPath,
  before: TreeEntry,
  after: TreeEntry,
): Promise<void> {
  const { options } = comparison;
  await tallyBlobs(comparison, "before", before, after);
  await tallyBlobs(comparison, "after", after, before);
  const kind = kindOfChange(before, after, options.metadata === true);
  if (kind !== undefined) options.onChange({ kind, path, before, after });
  if (before.type === "file" && after.type === "file" && (kind === "M" || kind === "M?")) comparison.changedFiles++;
  if (before.type === "directory" && after.type === "directory") {
    await compareDirectories(comparison, path, before, after);
  } else {
    if (before.type === "directory") await tellBelow(comparison, "-", path, before);
    if (after.type === "directory") await tellBelow(comparison, "+", path, after);
  }
}

/** Tells of an entry that one side alone has, and of all below it. */
async function tellAll(comparison: Comparison, kind: "+" | "-", folder: RawPath, entry: TreeEntry): Promise<void> {
  if (comparison.options.signal?.aborted) throw new InterruptedError("stopped");
  const path = joinRaw(folder, entry.name);
  const side = kind === "+" ? "after" : "before";
  comparison.options.onChange({ kind, path, before: undefined, after: undefined, [side]: entry });
  const counts = comparison.counts[kind];
  if (entry.type === "file") counts.files++;
  else if (entry.type === "directory") counts.directories++;
  else counts.others++;
  await tallyBlobs(comparison, side, entry);
  if (entry.type === "directory") await tellBelow(comparison, kind, path, entry);
}

async function tellBelow(
  comparison: Comparison,
  kind: "+" | "-",
  path: RawPath,
  directory: DirectoryEntry,
): Promise<void> {
  const view = kind === "+" ? comparison.after : comparison.before;
  await tellingProblems(comparison, path, async () => {
    for await (const entry of view.list(directory)) await tellAll(comparison, kind, path, entry);
  });
}

async function tellingProblems(comparison: Comparison, path: RawPath, work: () => Promise<void>): Promise<void> {
  const { onProblem, signal } = comparison.options;
  if (signal?.aborted) throw new InterruptedError("stopped");
  try {
    await work();
  } catch (error) {
    if (onProblem === undefined || error instanceof InterruptedError) throw error;
    onProblem(path, error);
  }
}

/** `other` is the entry of the same name on the other side: what it shares needs no tally. */
async function tallyBlobs(comparison: Comparison, side: TallySide, entry: TreeEntry, other?: TreeEntry): Promise<void> {
  if (entry.type === "directory") comparison.trees.add(side, entry.tree, 0);
  else if (entry.type === "file" && entry.listed === true) await tallyListed(comparison, side, entry, other);
  else if (entry.type === "file") {
    for (const blob of entry.content) comparison.data.add(side, blob.id, blob.lengthBytes);
  }
}

async function tallyListed(comparison: Comparison, side: TallySide, file: FileEntry, other?: TreeEntry): Promise<void> {
  for (const list of file.content) comparison.trees.add(side, list.id, 0);
  if (other?.type === "file" && sameFileContent(file, other)) return;
  for await (const blobs of comparison[side].content(file)) {
    for (const blob of blobs) comparison.data.add(side, blob.id, blob.lengthBytes);
  }
}

function kindOfChange(before: TreeEntry, after: TreeEntry, metadata: boolean): ChangeKind | undefined {
  if (before.type !== after.type) return "T";
  if (!sameContent(before, after)) return before.type === "file" && sameAttributes(before, after) ? "M?" : "M";
  return metadata && !sameAttributes(before, after) ? "U" : undefined;
}

/** What the entry holds or points to; of directories nothing, as what is in them is told by itself. */
function sameContent(before: TreeEntry, after: TreeEntry): boolean {
  switch (before.type) {
    case "file":
      return after.type === "file" && sameFileContent(before, after);
    case "symlink":
      return after.type === "symlink" && before.target === after.target;
    case "char":
    case "block":
      return after.type === before.type && before.major === after.major && before.minor === after.minor;
    case "directory":
    case "fifo":
    case "socket":
      return true;
  }
}

function sameFileContent(before: FileEntry, after: FileEntry): boolean {
  return (
    before.sizeBytes === after.sizeBytes &&
    before.content.length === after.content.length &&
    before.holes.length === after.holes.length &&
    before.content.every((blob, index) => Buffer.compare(blob.id, after.content[index].id) === 0) &&
    before.holes.every(
      ({ offset, lengthBytes }, index) =>
        offset === after.holes[index].offset && lengthBytes === after.holes[index].lengthBytes,
    )
  );
}

function sameAttributes(before: TreeEntry, after: TreeEntry): boolean {
  return (
    before.mode === after.mode &&
    before.uid === after.uid &&
    before.gid === after.gid &&
    before.user === after.user &&
    before.group === after.group &&
    before.mtimeSeconds === after.mtimeSeconds &&
    before.mtimeNanoseconds === after.mtimeNanoseconds &&
    before.inodeFlags === after.inodeFlags &&
    (before.type !== "file" || after.type !== "file" || before.sizeBytes === after.sizeBytes) &&
    before.xattrs.length === after.xattrs.length &&
    before.xattrs.every(
      ({ name, value }, index) =>
        name === after.xattrs[index].name && Buffer.compare(value, after.xattrs[index].value) === 0,
    )
  );
}
