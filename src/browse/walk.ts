import { InterruptedError } from "../errors.ts";
import { joinRaw, type RawPath } from "../platform/raw-path.ts";
import type { DirectoryEntry, TreeEntry } from "../format/tree.ts";
import type { SnapshotView } from "./snapshot-view.ts";

export interface WalkedEntry {
  /** Full path in the snapshot, without a slash at the start; "" for the top. */
  readonly path: RawPath;
  readonly entry: TreeEntry;
}

export interface WalkOptions {
  /** Where to begin; that entry is the first. The whole snapshot, if not given. */
  readonly from?: WalkedEntry;
  /** Whether to list a directory; all, if not given. */
  readonly enter?: (path: RawPath, directory: DirectoryEntry) => boolean;
  /** Is told of a directory that cannot be read (further), which is left then. Without it, the walk ends with the error. */
  readonly onProblem?: (path: RawPath, error: unknown) => void;
  readonly signal?: AbortSignal;
}

/**
 * Everything in a snapshot in sorted depth-first order: each directory first, at once followed by all that is below it,
 * names in one directory ascending by bytes. Holds no more than the directories on the way. Errors: as `list` of the
 * view; `InterruptedError`.
 */
export async function* walk(view: SnapshotView, options: WalkOptions = {}): AsyncGenerator<WalkedEntry> {
  const { enter = () => true, onProblem, signal } = options;
  const from = options.from ?? { path: "" as RawPath, entry: view.top };
  yield from;
  if (from.entry.type !== "directory" || !enter(from.path, from.entry)) return;
  const open = [{ path: from.path, entries: view.list(from.entry)[Symbol.asyncIterator]() }];
  while (open.length > 0) {
    if (signal?.aborted) throw new InterruptedError("stopped");
    const folder = open[open.length - 1];
    let entry: TreeEntry | undefined;
    try {
      const step = await folder.entries.next();
      if (!step.done) entry = step.value;
    } catch (error) {
      if (onProblem === undefined) throw error;
      onProblem(folder.path, error);
    }
    if (entry === undefined) {
      open.pop();
      continue;
    }
    const path = joinRaw(folder.path, entry.name);
    yield { path, entry };
    if (entry.type === "directory" && enter(path, entry)) {
      open.push({ path, entries: view.list(entry)[Symbol.asyncIterator]() });
    }
  }
}
