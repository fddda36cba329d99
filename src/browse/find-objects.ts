/**
 * Finds what in snapshots is made of certain stored pieces, as restic's `find --blob`, `--tree` and `--pack` do: with
 * that, an id in a message becomes the names of files.
 */
import { InterruptedError } from "../errors.ts";
import type { BlobId, DirectoryEntry, TreeEntry } from "../format/tree.ts";
import { joinRaw, type RawPath } from "../platform/raw-path.ts";
import type { FindOptions } from "./find.ts";
import type { SnapshotView } from "./snapshot-view.ts";

export interface SoughtObjects {
  /** Whether a piece of a file's content is sought. */
  readonly wantsBlob?: (id: BlobId) => boolean;
  /** Whether a tree is sought, or a list of the pieces of a very large file. */
  readonly wantsTree?: (id: BlobId) => boolean;
}

export interface FoundObject {
  readonly kind: "blob" | "tree";
  readonly id: BlobId;
  /** Of the file or folder that it belongs to, without a slash at the start; "" for the top of the snapshot. */
  readonly path: RawPath;
  /** The tree that this file or folder stands in; undefined for the top. */
  readonly parentTree: BlobId | undefined;
}

export interface ObjectFinder {
  /** In sorted depth-first order. Call it for one snapshot after another: trees without any are read once in all. */
  find(view: SnapshotView, options?: FindOptions): AsyncGenerator<FoundObject>;
}

interface Place {
  readonly path: RawPath;
  readonly parentTree: BlobId | undefined;
}

interface OpenFolder extends Place {
  readonly directory: DirectoryEntry;
  readonly entries: AsyncIterator<TreeEntry>;
  /** Nothing was found in it or below, and all of it could be read. */
  isBarren: boolean;
}

export function createObjectFinder({ wantsBlob, wantsTree }: SoughtObjects): ObjectFinder {
  /** Trees below which there is nothing. */
  const barren = new Set<string>();

  async function* ofFile(view: SnapshotView, entry: TreeEntry, place: Place): AsyncGenerator<FoundObject> {
    if (entry.type !== "file") return;
    if (entry.listed === true) {
      for (const { id } of entry.content) if (wantsTree?.(id)) yield { kind: "tree", id, ...place };
    }
    if (wantsBlob === undefined) return;
    const told = new Set<string>();
    for await (const blobs of view.content(entry)) {
      for (const { id } of blobs) {
        if (!wantsBlob(id) || told.has(keyOf(id))) continue;
        told.add(keyOf(id));
        yield { kind: "blob", id, ...place };
      }
    }
  }

  async function* find(view: SnapshotView, { onProblem, signal }: FindOptions = {}): AsyncGenerator<FoundObject> {
    const open: OpenFolder[] = [];

    function problem(path: RawPath, error: unknown): void {
      if (onProblem === undefined) throw error;
      onProblem(path, error);
      for (const folder of open) folder.isBarren = false;
    }

    function* enter(directory: DirectoryEntry, place: Place): Generator<FoundObject> {
      if (wantsTree?.(directory.tree)) yield found({ kind: "tree", id: directory.tree, ...place });
      if (barren.has(keyOf(directory.tree))) return;
      open.push({ ...place, directory, entries: view.list(directory)[Symbol.asyncIterator](), isBarren: true });
    }

    function found(object: FoundObject): FoundObject {
      for (const folder of open) folder.isBarren = false;
      return object;
    }

    yield* enter(view.top, { path: "" as RawPath, parentTree: undefined });
    while (open.length > 0) {
      if (signal?.aborted) throw new InterruptedError("stopped");
      const folder = open[open.length - 1];
      const entry = await nextEntry(folder, problem);
      if (entry === undefined) {
        open.pop();
        if (folder.isBarren) barren.add(keyOf(folder.directory.tree));
        continue;
      }
      const place = { path: joinRaw(folder.path, entry.name), parentTree: folder.directory.tree };
      if (entry.type === "directory") yield* enter(entry, place);
      try {
        for await (const object of ofFile(view, entry, place)) yield found(object);
      } catch (error) {
        problem(place.path, error);
      }
    }
  }

  return { find };
}

async function nextEntry(
  { entries, path }: OpenFolder,
  problem: (path: RawPath, error: unknown) => void,
): Promise<TreeEntry | undefined> {
  try {
    const next = await entries.next();
    return next.done === true ? undefined : next.value;
  } catch (error) {
    problem(path, error);
    return undefined;
  }
}

function keyOf(id: BlobId): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).latin1Slice();
}
