/**
 * One restore from its first folder to its last.
 *
 * The trees are walked in order. Folders are made on the way; links, devices and the like are made at once; files are
 * handed to workers, which open frames, verify every piece of content against its id, and write. A folder gets its
 * attributes when all that is in it is done.
 */
import { availableParallelism } from "node:os";
import { derivedKeys } from "../crypto/key-ring.ts";
import { DamagedError, errnoOf, HoldfastError, InterruptedError, messageOf, StorageError } from "../errors.ts";
import type { DirectoryEntry, TreeEntry } from "../format/tree.ts";
import { listDirectory } from "../platform/list-directory.ts";
import { closeFd, OPEN, openBeneath } from "../platform/open.ts";
import { displayPath, joinRaw, type RawPath } from "../platform/raw-path.ts";
import { statAt } from "../platform/stat.ts";
import { currentOwnerPolicy } from "./attributes.ts";
import { type ContentContext, createSecondTry, failureOfError, type FileFailure } from "./content-context.ts";
import { createFolders, type Folder, type Folders } from "./folders.ts";
import { createFrameFetcher } from "./frame-fetcher.ts";
import { createHardLinks, type HardLinks } from "./hard-links.ts";
import { isLarge, restoreLargeFile } from "./large-file.ts";
import {
  createRestoreProgress,
  type RestoreAction,
  type RestoreOptions,
  type RestoreProgress,
  type RestoreResult,
} from "./options.ts";
import { createOrdinalSet, type OrdinalSet } from "./ordinals.ts";
import { type OtherEntry, type OtherRules, restoreOther } from "./other-entries.ts";
import { createPump } from "./pump.ts";
import { removeAt } from "./remove.ts";
import { createShortfalls, type Shortfalls } from "./shortfalls.ts";
import { createSmallFiles, type SmallFiles } from "./small-files.ts";
import { verifyFiles } from "./verify.ts";
import { createWorkerPool } from "./worker-pool.ts";
import { type Outcome, OUTCOME, type WorkerSetup } from "./worker/messages.ts";

export interface Target {
  /** -1 in a dry run where there is no such folder. */
  readonly fd: number;
  readonly isNew: boolean;
}

/** Errors of the system that every further file would meet as well. */
const HOPELESS: ReadonlyMap<string, string> = new Map([
  ["ENOSPC", "the target is full"],
  ["EDQUOT", "the target's quota is used up"],
  ["EROFS", "the target is read-only"],
]);

const LARGE_FILES_AT_ONCE = 2;
const BYTES_UNDER_WAY = 48 * 1024 * 1024;
const MOST_WORKERS = 8;

const ACTIONS: Readonly<Record<Exclude<Outcome, typeof OUTCOME.failed>, Exclude<RestoreAction, "deleted">>> = {
  [OUTCOME.restored]: "restored",
  [OUTCOME.replaced]: "updated",
  [OUTCOME.touched]: "updated",
  [OUTCOME.unchanged]: "unchanged",
  [OUTCOME.skipped]: "skipped",
};

/** Something that is no folder, and is to be restored. */
interface Item {
  readonly folder: Folder;
  readonly entry: Exclude<TreeEntry, DirectoryEntry>;
  readonly path: RawPath;
  /** Which file it is in the order of the walk; -1 for what is no file. */
  readonly ordinal: number;
}

export interface Run {
  restoreAll(): Promise<void>;
  result(): RestoreResult;
  close(): Promise<void>;
}

export function createRun(options: RestoreOptions, target: Target): Run {
  const { view, select, signal, dryRun = false, deleteExtra = false } = options;
  const progress = options.progress ?? createRestoreProgress();
  const counts = { restored: 0, updated: 0, unchanged: 0, skipped: 0, deleted: 0 };
  const shortfalls: Shortfalls = createShortfalls();
  const settledFiles: OrdinalSet = createOrdinalSet();
  const failedFolders = new Set<RawPath>();
  let hopeless: HoldfastError | undefined;
  let ordinal = 0;

  const rules: OtherRules = {
    overwrite: options.overwrite ?? "always",
    policy: currentOwnerPolicy(options.ownersByName === true),
    removeFolders: deleteExtra,
    dryRun,
  };
  // The target is a copy of the folder that is restored into it, if it was made for that. The top of a whole snapshot has
  // no name: it stands for the root of a machine, which the target does not become.
  const rootEntry = target.isNew && view.top.name !== "" ? view.top : undefined;
  const folders: Folders = createFolders(target.fd, target.isNew, rootEntry, {
    ...rules,
    onProblem: report,
    onShortfall: shortfalls.add,
    onFinished: () => progress.directories++,
  });
  const context = createContext(options, rules, folders, shortfalls, progress);
  const small: SmallFiles = createSmallFiles(context);
  const links: HardLinks = createHardLinks(target.fd, folders, rules);
  const largeFiles = new Set<Promise<void>>();

  function report(where: RawPath, error: unknown): void {
    const code = errnoOf(error);
    const reason = code === undefined ? undefined : HOPELESS.get(code);
    if (reason !== undefined) {
      hopeless ??= new StorageError(`${reason}: ${(error as Error).message}`, {
        hint: "make room or choose another target, and run the same command again: it goes on where it stopped",
        cause: error,
      });
      return;
    }
    progress.problems++;
    options.onProblem({ path: where, error });
  }

  function checkGoingOn(): void {
    if (hopeless !== undefined) throw hopeless;
    if (signal?.aborted === true) {
      throw new InterruptedError("the restore was stopped", { hint: "run it again to go on where it stopped" });
    }
  }

  async function restoreFolder(folder: Folder, directory: DirectoryEntry): Promise<void> {
    folders.enter(folder);
    const names = new Set<string>();
    const entries = view.list(directory)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const step = await entries.next();
        if (step.done === true) break;
        checkGoingOn();
        if (deleteExtra) names.add(step.value.name);
        await stoppingAll(restoreEntry(folder, step.value));
      }
      if (deleteExtra && folder.state === "open" && !folder.isNew) removeExtra(folder, names);
    } catch (error) {
      checkGoingOn();
      // It cannot be listed further. What is beyond that in the target is not deleted, as it may be in the snapshot.
      report(folder.path, error);
    }
    folders.leave(folder);
  }

  /** Whatever is thrown here is not a matter of one entry. */
  async function stoppingAll(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (error) {
      hopeless ??= error instanceof HoldfastError ? error : new HoldfastError(messageOf(error), { cause: error });
      throw hopeless;
    }
  }

  async function restoreEntry(folder: Folder, entry: TreeEntry): Promise<void> {
    const where = joinRaw(folder.path, entry.name);
    if (!isSafeName(entry.name))
      return report(where, new DamagedError(`"${displayPath(entry.name)}" is no name for a file`));
    const selected = select?.(where, entry.type === "directory") ?? { itself: true, below: true };
    if (entry.type === "directory") {
      const child = folders.child(folder, where, entry);
      if (selected.itself && !folders.make(child)) failedFolders.add(where);
      else if (selected.below) await restoreFolder(child, entry);
      return;
    }
    if (!selected.itself) return;
    const fileOrdinal = entry.type === "file" ? ordinal++ : -1;
    if (!folders.make(folder)) return;
    progress.current = where;
    const item: Item = { folder, entry, path: where, ordinal: fileOrdinal };
    await (entry.hardLink === undefined ? restoreHere(item, undefined) : restoreLinked(item));
  }

  async function restoreLinked(item: Item): Promise<void> {
    const { folder } = item;
    let work: Promise<void> | undefined;
    let holdsFolder = true;
    const letGoOfFolder = (): void => {
      if (holdsFolder) folders.leave(folder);
      holdsFolder = false;
    };
    folders.enter(folder);
    links.add({
      ...item,
      restore(settled) {
        // When this is called later, nobody waits for it here any more.
        work = stoppingAll(restoreHere(item, settled));
        work.catch(() => undefined);
        letGoOfFolder();
      },
      linked(outcome, error) {
        if (outcome === OUTCOME.failed) report(item.path, error);
        else count(item, outcome, 0);
        letGoOfFolder();
      },
    });
    await work;
  }

  /** Resolves when there is room for the next; what became of this one is told to `settled`, now or later. */
  async function restoreHere(item: Item, settled: ((outcome: Outcome) => void) | undefined): Promise<void> {
    const { folder, entry } = item;
    folders.enter(folder);
    const done = (outcome: Outcome, failure?: FileFailure): void => {
      if (outcome === OUTCOME.failed) report(item.path, errorOf(failure));
      else count(item, outcome, entry.type === "file" ? entry.sizeBytes : 0);
      if (outcome !== OUTCOME.failed && outcome !== OUTCOME.skipped && item.ordinal >= 0)
        settledFiles.add(item.ordinal);
      settled?.(outcome);
      folders.leave(folder);
    };
    if (entry.type !== "file") return restoreOtherHere(item, entry, done);
    const file = { folder, entry, path: item.path, leaveWritable: settled !== undefined, done };
    if (isLarge(entry)) await startLargeFile(() => restoreLargeFile(context, file, () => view.content(entry)));
    else await small.add(file);
  }

  function restoreOtherHere(
    item: Item,
    entry: OtherEntry,
    done: (outcome: Outcome, failure?: FileFailure) => void,
  ): void {
    let outcome: Outcome;
    try {
      const folderFd = folders.pin(item.folder);
      try {
        outcome = restoreOther(item.folder, folderFd, entry, rules, (kind) => shortfalls.add(item.path, kind));
      } finally {
        folders.unpin(item.folder);
      }
    } catch (error) {
      return done(OUTCOME.failed, failureOfError(error));
    }
    done(outcome);
  }

  async function startLargeFile(start: () => Promise<void>): Promise<void> {
    while (largeFiles.size >= LARGE_FILES_AT_ONCE) await Promise.race(largeFiles);
    const work: Promise<void> = start().finally(() => largeFiles.delete(work));
    largeFiles.add(work);
  }

  function count({ path, entry }: Item, outcome: Exclude<Outcome, typeof OUTCOME.failed>, sizeBytes: number): void {
    const action = ACTIONS[outcome];
    counts[action]++;
    if (entry.type === "file") progress.files++;
    else progress.others++;
    progress.bytes += sizeBytes;
    options.onEntry?.(path, action, sizeBytes);
  }

  /** Removes what is selected and not in the snapshot. */
  function removeExtra(folder: Folder, names: ReadonlySet<string>): void {
    // Listed through a descriptor of its own, which starts at the beginning.
    const fd = openBeneath(target.fd, folder.path, OPEN.READ | OPEN.DIRECTORY);
    try {
      for (const name of listDirectory(fd)) {
        const where = joinRaw(folder.path, name);
        if (!names.has(name)) removeExtraEntry(folder, fd, name, where);
      }
    } finally {
      closeFd(fd);
    }
  }

  function removeExtraEntry(folder: Folder, fd: number, name: RawPath, where: RawPath): void {
    try {
      const stat = statAt(fd, name);
      if (select !== undefined && !select(where, stat.type === "directory").itself) return;
      if (dryRun) {
        counts.deleted++;
        options.onEntry?.(where, "deleted", 0);
        return;
      }
      removeAt(fd, name, stat, {
        recursive: true,
        onRemoved: (removed) => {
          counts.deleted++;
          options.onEntry?.(joinRaw(folder.path, removed), "deleted", 0);
        },
      });
    } catch (error) {
      report(where, error);
    }
  }

  async function restoreAll(): Promise<void> {
    try {
      await restoreFolder(folders.root, view.top);
    } catch (error) {
      small.abandon();
      await Promise.all(largeFiles);
      throw error;
    }
    await drain();
    checkGoingOn();
    if (!dryRun) links.finish(report, shortfalls.add);
    if (options.verify !== true) return;
    await verifyFiles(options, {
      rootFd: target.fd,
      context,
      mayEnter: (folder) => !failedFolders.has(folder),
      isToVerify: settledFiles.has,
      onProblem: report,
      onVerified: () => progress.verified++,
    });
    checkGoingOn();
  }

  /** Until nothing is under way: what is done may bring new work, where other names of a file waited for it. */
  async function drain(): Promise<void> {
    do {
      await small.drain();
      await Promise.all(largeFiles);
    } while (largeFiles.size > 0 || small.waiting() > 0);
  }

  return {
    restoreAll,
    result: () => ({
      ...counts,
      directories: progress.directories,
      bytes: progress.bytes,
      writtenBytes: progress.writtenBytes,
      verified: progress.verified,
      problems: progress.problems,
      shortfalls: shortfalls.summary(),
    }),
    async close() {
      await context.pool.close();
      folders.close();
    },
  };
}

function createContext(
  options: RestoreOptions,
  rules: OtherRules,
  folders: Folders,
  shortfalls: Shortfalls,
  progress: RestoreProgress,
): ContentContext {
  const { repository, reader } = options;
  const setup: WorkerSetup = {
    ...rules,
    repositoryId: Uint8Array.from(repository.ring.repositoryId),
    dataKey: Uint8Array.from(derivedKeys(repository.ring).data),
    sparse: options.sparse === true,
  };
  const workers = options.workers ?? Math.min(availableParallelism(), MOST_WORKERS);
  return {
    setup,
    keepDamaged: options.keepDamaged === true,
    pool: createWorkerPool(setup, workers),
    pump: createPump(2 * workers + 2, BYTES_UNDER_WAY),
    folders,
    fetcher: createFrameFetcher(reader, repository.storage),
    secondTry: createSecondTry(reader),
    onShortfall: shortfalls.add,
    onWritten: (bytes) => {
      progress.writtenBytes += bytes;
    },
  };
}

/** The decoder has refused such names already; what is written where hangs on it, so it is asked again. */
function isSafeName(name: RawPath): boolean {
  return name !== "" && name !== "." && name !== ".." && !name.includes("/") && !name.includes("\0");
}

function errorOf(failure: FileFailure | undefined): unknown {
  if (failure === undefined) return new HoldfastError("it could not be restored");
  if (failure.damaged) {
    return new DamagedError(failure.message, { hint: 'run "holdfast check --read-data" to see all damage' });
  }
  return Object.assign(new Error(failure.message), { code: failure.code });
}
