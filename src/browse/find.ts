/**
 * Finds names in snapshots, as restic's `find` does.
 *
 * Snapshots share most of their trees. What a search has learned of a tree it keeps (which entries match, and below
 * which folders something does), so that a tree that stands in a hundred snapshots is read once.
 */
import { InterruptedError } from "../errors.ts";
import { joinRaw, type RawPath } from "../platform/raw-path.ts";
import type { DirectoryEntry, TreeEntry } from "../format/tree.ts";
import { compilePathPattern, matchablePath, type PathPattern } from "./path-pattern.ts";
import type { SnapshotView } from "./snapshot-view.ts";
import type { WalkedEntry } from "./walk.ts";

export interface FindQuery {
  /** An entry is found if one of them matches its path; see path-pattern.ts. */
  readonly patterns: readonly string[];
  readonly ignoreCase?: boolean;
  /** Modified at this time (ms since 1970) or later. */
  readonly oldestMs?: number;
  /** Modified at this time or before. */
  readonly newestMs?: number;
}

export interface FindOptions {
  /** Is told of a directory that cannot be read, which is left out. Without it, the search ends with the error. */
  readonly onProblem?: (path: RawPath, error: unknown) => void;
  readonly signal?: AbortSignal;
}

export interface Finder {
  /** Entries of one snapshot that match, in sorted depth-first order. Call it for one snapshot after another. */
  find(view: SnapshotView, options?: FindOptions): AsyncGenerator<WalkedEntry>;
}

/** What is known of an entry: itself found, or only on the way to something that is. */
interface Step {
  readonly entry: TreeEntry;
  readonly found: boolean;
  /** It matches, so all below it does. */
  readonly allBelow: boolean;
}

/** A directory being gone through. */
interface OpenFolder {
  readonly path: RawPath;
  readonly memoKey: string;
  readonly arrivedBy: Step | undefined;
  readonly steps: AsyncIterator<Step> | Iterator<Step>;
  /** Those worth remembering. */
  readonly kept: Step[];
  complete: boolean;
}

// About 200 MB: a search for everything in everything goes on without remembering more.
const MAX_REMEMBERED_STEPS = 500_000;

/** Throws `UsageError` for a pattern that makes no sense. */
export function createFinder(query: FindQuery): Finder {
  const { ignoreCase = false, oldestMs = -Infinity, newestMs = Infinity } = query;
  const patterns = query.patterns.map((text) => compilePathPattern(text, { ignoreCase }));
  const dependsOnFolder = patterns.some((pattern) => pattern.anchored || pattern.spansParts);
  const memo = new Map<string, readonly Step[]>();
  let remembered = 0;

  function inTime(entry: TreeEntry): boolean {
    const mtimeMs = entry.mtimeSeconds * 1000 + entry.mtimeNanoseconds / 1e6;
    return mtimeMs >= oldestMs && mtimeMs <= newestMs;
  }

  function stepTo(folder: RawPath, entry: TreeEntry, allMatch: boolean): Step {
    const matched = allMatch || matchesAny(patterns, dependsOnFolder ? joinRaw(folder, entry.name) : entry.name);
    return { entry, found: matched && inTime(entry), allBelow: matched };
  }

  function openFolder(view: SnapshotView, path: RawPath, directory: DirectoryEntry, arrivedBy?: Step): OpenFolder {
    const allMatch = arrivedBy?.allBelow ?? matchesAny(patterns, "" as RawPath);
    const memoKey = memoKeyOf(directory, allMatch ? "*" : dependsOnFolder ? `/${path}` : "");
    const known = memo.get(memoKey);
    const steps = known?.values() ?? listSteps(view, path, directory, allMatch);
    return { path, memoKey, arrivedBy, steps, kept: [], complete: true };
  }

  async function* listSteps(
    view: SnapshotView,
    path: RawPath,
    directory: DirectoryEntry,
    allMatch: boolean,
  ): AsyncGenerator<Step> {
    for await (const entry of view.list(directory)) yield stepTo(path, entry, allMatch);
  }

  function mayHoldMatches(path: RawPath, step: Step): boolean {
    if (step.allBelow) return true;
    const folder = matchablePath(path);
    return patterns.some((pattern) => pattern.mayMatchBelow(folder));
  }

  /** Remembers what was learned of a folder; gives what its parent should remember of it. */
  function closeFolder(folder: OpenFolder, parent: OpenFolder | undefined): void {
    if (folder.complete && !memo.has(folder.memoKey) && remembered + folder.kept.length < MAX_REMEMBERED_STEPS) {
      memo.set(folder.memoKey, folder.kept);
      remembered += folder.kept.length + 1;
    }
    if (parent === undefined || folder.arrivedBy === undefined) return;
    if (!folder.complete) parent.complete = false;
    if (folder.kept.length > 0 || folder.arrivedBy.found) parent.kept.push(folder.arrivedBy);
  }

  async function* find(view: SnapshotView, options: FindOptions = {}): AsyncGenerator<WalkedEntry> {
    const open = [openFolder(view, "" as RawPath, view.top)];
    while (open.length > 0) {
      if (options.signal?.aborted) throw new InterruptedError("stopped");
      const folder = open[open.length - 1];
      const step = await nextStep(folder, options);
      if (step === undefined) {
        open.pop();
        closeFolder(folder, open.at(-1));
        continue;
      }
      const path = joinRaw(folder.path, step.entry.name);
      if (step.found) yield { path, entry: step.entry };
      if (step.entry.type === "directory" && mayHoldMatches(path, step)) {
        open.push(openFolder(view, path, step.entry, step));
      } else if (step.found) folder.kept.push(step);
    }
  }

  return { find };
}

async function nextStep(folder: OpenFolder, options: FindOptions): Promise<Step | undefined> {
  try {
    const next = await folder.steps.next();
    return next.done ? undefined : next.value;
  } catch (error) {
    if (options.onProblem === undefined) throw error;
    options.onProblem(folder.path, error);
    folder.complete = false;
    return undefined;
  }
}

function matchesAny(patterns: readonly PathPattern[], path: RawPath): boolean {
  const text = matchablePath(path);
  return patterns.some((pattern) => pattern.matches(text));
}

function memoKeyOf(directory: DirectoryEntry, place: string): string {
  return Buffer.from(directory.tree.buffer, directory.tree.byteOffset, directory.tree.byteLength).latin1Slice() + place;
}
