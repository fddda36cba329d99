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
import {
  contentIds,
  decodeEntry,
  type DirectoryEntry,
  entryName,
  type FileEntry,
  isPlainFile,
  type TreeEntry,
} from "../format/tree.ts";
import { listDirectory } from "../platform/list-directory.ts";
import { closeFd, OPEN, openBeneath } from "../platform/open.ts";
import { displayPath, joinRaw, type RawPath } from "../platform/raw-path.ts";
import { statAt } from "../platform/stat.ts";
import { currentOwnerPolicy } from "./attributes.ts";
import {
  type ContentContext,
  createSecondTry,
  failureOfError,
  type FileFailure,
  type RestorableFile,
} from "./content-context.ts";
import { createFolders, type Folder, type Folders } from "./folders.ts";
import { createFrameFetcher } from "./frame-fetcher.ts";
import { createHardLinks, type HardLinks } from "./hard-links.ts";
import { isLarge, restoreLargeFile, SMALL_FILE_BYTES } from "./large-file.ts";
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
  /**
   * Made by this restore, or by one that was broken off, for the folder that is restored into it, whose attributes it gets.
   * The top of a whole snapshot has no name: it stands for the root of a machine, which the target does not become.
   */
  readonly becomesCopy: boolean;
}

/** Errors of the system that every further file would meet as well. */
const HOPELESS: ReadonlyMap<string, string> = new Map([
  ["ENOSPC", "the target is full"],
  ["EDQUOT", "the target's quota is used up"],
  ["EROFS", "the target is read-only"],
]);

const LARGE_FILES_AT_ONCE = 2;
const BYTES_UNDER_WAY = 16 * 1024 * 1024;
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
  readonly encoded: Uint8Array;
  /** Files only: which it is in the order of the walk, and its size; -1 and 0 otherwise. */
  readonly ordinal: number;
  readonly sizeBytes: number;
}

function pathOf({ folder, encoded }: Item): RawPath {
  return joinRaw(folder.path, entryName(encoded));
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
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const stopWorkers = (): void => void Atomics.store(stop, 0, 1);
  signal?.addEventListener("abort", stopWorkers, { once: true });
  let ordinal = 0;

  const rules: OtherRules = {
    overwrite: options.overwrite ?? "always",
    policy: currentOwnerPolicy(options.ownersByName === true),
    removeFolders: deleteExtra,
    dryRun,
  };
  const rootEntry = target.becomesCopy ? view.top : undefined;
  const folders: Folders = createFolders(target.fd, target.isNew, rootEntry, {
    ...rules,
    onProblem: report,
    onShortfall: shortfalls.add,
    onFinished: () => progress.directories++,
  });
  const context = createContext(options, rules, folders, progress, stop);
  const small: SmallFiles = createSmallFiles(context);
  const links: HardLinks = createHardLinks(target.fd, folders, rules, shortfalls.add);
  const largeFiles = new Set<Promise<void>>();

  function report(where: RawPath, error: unknown): void {
    const code = errnoOf(error);
    const reason = code === undefined ? undefined : HOPELESS.get(code);
    if (reason !== undefined) {
      hopeless ??= new StorageError(`${reason}: ${(error as Error).message}`, {
        hint: "make room or choose another target, and run the same command again: it goes on where it stopped",
        cause: error,
      });
      stopWorkers();
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
    const batches = view.listEncoded(directory)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const step = await batches.next();
        if (step.done === true) break;
        for (const encoded of step.value) {
          checkGoingOn();
          if (deleteExtra) names.add(entryName(encoded));
          const work = restoreEncoded(folder, encoded);
          if (work !== undefined) await stoppingAll(work);
        }
      }
      // When all is done: until then files under temporary names may be there.
      if (deleteExtra) folder.lastStep = () => removeExtra(folder, names);
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

  /** Resolves when there is room for more; undefined where there is. */
  function restoreEncoded(folder: Folder, encoded: Uint8Array): Promise<void> | undefined {
    // Most entries are plain files: those are handed on without a look inside.
    const sizeBytes = isPlainFile(encoded) ? contentBytes(encoded) : Infinity;
    if (sizeBytes > SMALL_FILE_BYTES) return restoreEntry(folder, encoded);
    if (select !== undefined && !select(joinRaw(folder.path, entryName(encoded)), false).itself) return undefined;
    const item = { folder, encoded, ordinal: ordinal++, sizeBytes };
    if (!folders.make(folder)) return undefined;
    progress.current = folder.path;
    return small.add(startFile(item, undefined));
  }

  async function restoreEntry(folder: Folder, encoded: Uint8Array): Promise<void> {
    let entry: TreeEntry;
    try {
      entry = decodeEntry(encoded);
      if (!isSafeName(entry.name)) throw new DamagedError(`"${displayPath(entry.name)}" is no name for a file`);
    } catch (error) {
      return report(folder.path, error);
    }
    const where = joinRaw(folder.path, entry.name);
    const selected = select?.(where, entry.type === "directory") ?? { itself: true, below: true };
    if (entry.type === "directory") {
      const child = folders.child(folder, where, entry);
      if (selected.itself && !folders.make(child)) failedFolders.add(where);
      else if (selected.below) await restoreFolder(child, entry);
      return;
    }
    if (!selected.itself) return;
    const item: Item =
      entry.type === "file"
        ? { folder, encoded, ordinal: ordinal++, sizeBytes: entry.sizeBytes }
        : { folder, encoded, ordinal: -1, sizeBytes: 0 };
    if (!folders.make(folder)) return;
    progress.current = where;
    await (entry.hardLink === undefined ? restoreHere(item, entry, undefined) : restoreLinked(item, entry));
  }

  async function restoreLinked(item: Item, entry: FileEntry | OtherEntry): Promise<void> {
    const { folder } = item;
    let work: Promise<void> | undefined;
    let holdsFolder = true;
    const letGoOfFolder = (): void => {
      if (holdsFolder) folders.leave(folder);
      holdsFolder = false;
    };
    folders.enter(folder);
    links.add({
      folder,
      entry,
      path: pathOf(item),
      restore(settled) {
        // When this is called later, nobody waits for it here any more.
        work = stoppingAll(restoreHere(item, entry, settled));
        work.catch(() => undefined);
        letGoOfFolder();
      },
      linked(outcome, error) {
        if (outcome === OUTCOME.failed) report(pathOf(item), error);
        else count(item, outcome, 0);
        letGoOfFolder();
      },
    });
    await work;
  }

  /** Resolves when there is room for the next; what became of this one is told to `settled`, now or later. */
  async function restoreHere(
    item: Item,
    entry: FileEntry | OtherEntry,
    settled: ((outcome: Outcome) => void) | undefined,
  ): Promise<void> {
    const file = startFile(item, settled);
    if (entry.type !== "file") restoreOtherHere(file, entry);
    else if (isLarge(entry))
      await startLargeFile(() => restoreLargeFile(context, file, entry, () => view.content(entry)));
    else await small.add(file);
  }

  /** Holds the folder until the file is done. */
  function startFile(item: Item, settled: ((outcome: Outcome) => void) | undefined): RestorableFile {
    const { folder, encoded, sizeBytes, ordinal: fileOrdinal } = item;
    folders.enter(folder);
    return {
      folder,
      encoded,
      sizeBytes,
      leaveWritable: settled !== undefined,
      onShortfall: (kind) => shortfalls.add(pathOf(item), kind),
      done(outcome, failure) {
        if (outcome !== OUTCOME.failed) count(item, outcome, sizeBytes);
        // What was not done because all is to stop is no problem of its own.
        else if (!context.isStopping()) report(pathOf(item), errorOf(failure));
        if (outcome !== OUTCOME.failed && outcome !== OUTCOME.skipped && fileOrdinal >= 0)
          settledFiles.add(fileOrdinal);
        settled?.(outcome);
        folders.leave(folder);
      },
    };
  }

  function restoreOtherHere({ folder, onShortfall, done }: RestorableFile, entry: OtherEntry): void {
    let outcome: Outcome;
    try {
      const folderFd = folders.pin(folder);
      try {
        outcome = restoreOther(folder, folderFd, entry, rules, onShortfall);
      } finally {
        folders.unpin(folder);
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

  function count(item: Item, outcome: Exclude<Outcome, typeof OUTCOME.failed>, sizeBytes: number): void {
    const action = ACTIONS[outcome];
    counts[action]++;
    if (item.ordinal >= 0) progress.files++;
    else progress.others++;
    progress.bytes += sizeBytes;
    options.onEntry?.(pathOf(item), action, sizeBytes);
  }

  /** Removes what is selected and not in the snapshot. */
  function removeExtra(folder: Folder, names: ReadonlySet<string>): void {
    if (folder.isNew) return;
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
      stopWorkers();
      await small.abandon();
      await Promise.all(largeFiles);
      throw error;
    }
    await drain();
    checkGoingOn();
    if (!dryRun) links.finish(report);
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
      signal?.removeEventListener("abort", stopWorkers);
      await context.pool.close();
      folders.close();
    },
  };
}

function createContext(
  options: RestoreOptions,
  rules: OtherRules,
  folders: Folders,
  progress: RestoreProgress,
  stop: Int32Array<SharedArrayBuffer>,
): ContentContext {
  const { repository, reader } = options;
  const setup: WorkerSetup = {
    ...rules,
    repositoryId: Uint8Array.from(repository.ring.repositoryId),
    dataKey: Uint8Array.from(derivedKeys(repository.ring).data),
    sparse: options.sparse === true,
    stop,
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
    isStopping: () => Atomics.load(stop, 0) !== 0,
    onWritten: (bytes) => {
      progress.writtenBytes += bytes;
    },
  };
}

/** Length of all blobs that an encoded entry names. */
function contentBytes(encoded: Uint8Array): number {
  let bytes = 0;
  contentIds(encoded, (_idOffset, lengthBytes) => {
    bytes += lengthBytes;
  });
  return bytes;
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
