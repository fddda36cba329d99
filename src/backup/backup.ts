import { availableParallelism } from "node:os";
import { setImmediate as nextTurn } from "node:timers/promises";
import { createKeyedHash } from "../crypto/keyed-hash.ts";
import { HoldfastError, InterruptedError } from "../errors.ts";
import {
  type BlobId,
  contentIds,
  decodeEntry,
  type DirectoryEntry,
  encodeEntry,
  type Hole,
  type TreeEntry,
  lengthOf,
} from "../format/tree.ts";
import { boundHeap } from "../platform/bound-heap.ts";
import type { FileStat } from "../platform/file-stat.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { type Compression, createFrameWriter } from "../repository/frame-writer.ts";
import { claimForStoring } from "../repository/session-blobs.ts";
import type { EntryDetails, ReportProblem, Source, SourceEntry, SourceProblem } from "../source/source.ts";
import type { Destination } from "./destination.ts";
import { createFileReader, type ReadFile } from "./file-reader.ts";
import { createHardLinks, type LinkGroup } from "./hard-links.ts";
import { needContent, needIds } from "./known-folders.ts";
import { createTreeAssembler } from "./tree-assembler.ts";
import { contentBlobs, listContent } from "./content.ts";
import { treeEntryOf } from "./tree-entry.ts";
import type { KnownEntries, KnownEntry, KnownFolder, WalkLogWriter } from "./walk-log.ts";
import { createWorkerPool } from "./worker-pool.ts";

/**
 * One run of a backup, from a source to a destination.
 *
 * The source is listed in walk order. What the last run knows and is unchanged is taken over as it stands; the rest is
 * handed to workers. Entries wait in a queue for what comes before them, and leave it in walk order into the trees, so
 * that memory does not grow with the number of files.
 */
export interface BackupOptions {
  readonly source: Source;
  readonly destination: Destination;
  /** What the last run knows; undefined to read everything. */
  readonly known: KnownEntries | undefined;
  /** Where to note what this run sees. */
  readonly log: WalkLogWriter | undefined;
  readonly snapshot: SnapshotDescription;
  readonly compression: Compression;
  /** Worker threads; by default one a core. */
  readonly workers?: number | undefined;
  readonly onProblem: (problem: SourceProblem) => void;
  /** Told of each entry as it is saved, for `--verbose`. */
  readonly onEntry?: ((path: RawPath, change: EntryChange, stat: FileStat) => void) | undefined;
  /** Updated as the run goes on; for progress lines. New for each run: what it counts is what the snapshot says. */
  readonly progress?: BackupProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SnapshotDescription {
  readonly host: string;
  /** 16 bytes, equal for snapshots of the same host and paths. */
  readonly group: Buffer;
  readonly parent: string | undefined;
  readonly paths: readonly RawPath[];
  readonly tags: readonly string[];
  readonly user: string;
  readonly program: string;
  readonly excludes: readonly string[];
}

export type EntryChange = "new" | "changed" | "unmodified";

export interface ChangeCounts {
  new: number;
  changed: number;
  unmodified: number;
}

/** Grows as the run goes on. */
export interface BackupProgress {
  files: number;
  directories: number;
  others: number;
  /** Logical size of the files that are done. */
  bytes: number;
  problems: number;
  /** What was last handed out to be read. */
  current: RawPath;
}

export function createBackupProgress(): BackupProgress {
  return { files: 0, directories: 0, others: 0, bytes: 0, problems: 0, current: "" as RawPath };
}

/** For the source of a backup: problems that it reports itself count as those that the backup meets. */
export function countingProblems(progress: BackupProgress, onProblem: ReportProblem): ReportProblem {
  return (problem) => {
    progress.problems++;
    onProblem(problem);
  };
}

export interface BackupResult {
  readonly snapshotId: string;
  readonly timeMs: number;
  readonly files: ChangeCounts;
  readonly directories: ChangeCounts;
  readonly others: ChangeCounts;
  readonly totalFiles: number;
  /** Logical size of all files. */
  readonly totalBytes: number;
  readonly dataBlobs: number;
  readonly treeBlobs: number;
  /** Raw bytes of blobs that were new. */
  readonly addedBytes: number;
  /** Bytes that storage takes for them. */
  readonly storedBytes: number;
  readonly problems: number;
}

/** Of so many, memory is worth more than a little time. */
const MANY_ENTRIES = 150_000;
/** Entries that wait for those before them; beyond this the walk stands still. */
const QUEUE_ENTRIES = 1024;
/** Times younger than this, as seen by the walk, could be had again by a later change. */
const RACY_MS = 2000;

interface QueuedEntry {
  readonly entry: SourceEntry;
  readonly change: EntryChange;
  /** How it stood in its tree in the last run, if it looks as if it, or what belongs to it, had changed. */
  readonly previous: Buffer | undefined;
  /** What the last run knows, where all of it or the content is still the same. */
  readonly known: KnownEntry | undefined;
  read: ReadFile | undefined;
  /** False for further names of an inode, whose content was read, and is counted, by the first. */
  isReadHere: boolean;
  readonly link: LinkGroup | undefined;
  /** A directory of which all is as it was. */
  readonly whole: KnownFolder | undefined;
  readonly listedMs: number;
}

/** A directory that is being saved. */
interface OpenFolder {
  readonly digest: string | undefined;
  /** Whether all that was listed below it so far was saved as it was listed. */
  isComplete: boolean;
}

interface EncodedEntry {
  readonly encoded: Buffer;
  /** Of a file with content lists: the ids of all its blobs. */
  readonly listedIds: Uint8Array;
  readonly stat: FileStat;
  /** It was not being changed when it was read. */
  readonly stable: boolean;
}

const NO_IDS = new Uint8Array(0);

export async function backup(options: BackupOptions): Promise<BackupResult> {
  const { source, destination, known: lastRun, log, signal } = options;
  const progress = options.progress ?? createBackupProgress();
  const counts = { files: noChanges(), directories: noChanges(), others: noChanges() };
  const added = { dataBlobs: 0, treeBlobs: 0, bytes: 0 };
  const { keys, blobs } = destination;

  const pool = createWorkerPool(
    { ...keys, blobs, compression: options.compression },
    options.workers ?? availableParallelism(),
    async (frame) => {
      destination.store(frame);
      await destination.ready();
    },
  );
  const reader = createFileReader(pool, source);
  const links = createHardLinks(keys.linkKey);
  const treeHash = createKeyedHash(keys.treeKey);
  const treeFrames = createFrameWriter("tree", keys, options.compression, (frame) => destination.store(frame));
  const trees = createTreeAssembler(storeTree, closeFolder);
  /** By depth, those in which the last entry lies. */
  const folders: OpenFolder[] = [];
  const queue: QueuedEntry[] = [];
  let queueHead = 0;
  let listedEntries = 0;
  let isOver = false;
  /** What lies deeper than this is below a directory that was taken over whole. */
  let skippedDepth = Number.POSITIVE_INFINITY;

  function report(path: RawPath, during: string, error: unknown): void {
    progress.problems++;
    options.onProblem({ path, during, error });
  }

  function storeTree(tree: Uint8Array): BlobId {
    const id = treeHash.hash(tree);
    if (claimForStoring(blobs, id)) {
      treeFrames.append(id, tree);
      added.treeBlobs++;
      added.bytes += tree.length;
    }
    destination.need(id);
    return id;
  }

  /** Whether the repository still has all content of an entry that the last run saved. */
  function hasContent({ encoded, listedIds }: KnownEntry): boolean {
    return needContent(encoded, 0, destination.need) && needIds(listedIds, 0, listedIds.length, destination.need);
  }

  /** What the last run knows of an entry that need not be read: by this name, or by another of the same inode. */
  function knownContent(
    entry: SourceEntry,
    match: KnownEntry | undefined,
    link: LinkGroup | undefined,
  ): KnownEntry | undefined {
    if (match !== undefined && needsNoReading(entry, match) && hasContent(match)) {
      if (link !== undefined) link.known ??= { ...match, same: "content" };
      return match;
    }
    const other = link?.known;
    return other !== undefined && needsNoReading(entry, other) ? other : undefined;
  }

  /** All that the last run knows of a directory that has not changed, if it is all there. */
  function takeWhole({ depth, digest }: SourceEntry, { digest: before, same }: KnownEntry): KnownFolder | undefined {
    if (digest === undefined || digest !== before || same !== "all" || options.onEntry !== undefined) return undefined;
    return lastRun?.takeFolder?.(depth, destination);
  }

  /** Goes through what is known while nothing has come yet. */
  async function scanWhileWaiting(): Promise<void> {
    const steps = lastRun?.scanFolders?.(destination.frameOf);
    do await nextTurn();
    while (listedEntries === 0 && !isOver && steps?.next().done === false);
    steps?.return();
  }

  /** Gives true for a directory below which nothing need be looked at. */
  function enqueue(entry: SourceEntry, listedMs: number): boolean {
    const match = lastRun?.match(entry);
    const link = links.groupOf(entry.stat);
    const known = knownContent(entry, match, link);
    if (known !== undefined) {
      const whole = known === match ? takeWhole(entry, known) : undefined;
      const isSame = known.same === "all";
      const change = isSame ? "unmodified" : match === undefined ? "new" : "changed";
      const previous = isSame ? undefined : match?.encoded;
      queue.push({ entry, change, previous, known, read: undefined, isReadHere: true, link, whole, listedMs });
      return whole !== undefined;
    }
    const shared = link?.read;
    let read: ReadFile | undefined;
    if (entry.stat.type === "file") {
      progress.current = entry.path;
      read = shared ?? reader.read(entry);
      if (link !== undefined) link.read = read;
    }
    const change = match === undefined ? "new" : "changed";
    const previous = match?.encoded;
    const isReadHere = shared === undefined;
    queue.push({ entry, change, previous, known: undefined, read, isReadHere, link, whole: undefined, listedMs });
    return false;
  }

  /** An unchanged entry's encoding, with the group that this run knows the inode by. */
  function withLinkGroup(encoded: Buffer, link: LinkGroup): Buffer {
    const before = decodeEntry(encoded);
    if (before.hardLink === undefined) return encoded;
    link.id ??= Buffer.from(before.hardLink);
    return link.id.equals(before.hardLink) ? encoded : encodeEntry({ ...before, hardLink: link.id });
  }

  /** Moves what is complete from the head of the queue into the trees. */
  function drain(): void {
    while (queueHead < queue.length) {
      const queued = queue[queueHead];
      if (queued.read !== undefined) {
        if (queued.read.fatal !== undefined) throw queued.read.fatal;
        if (queued.read.result === undefined) break;
        if (!queued.isReadHere && isOfOtherInode(queued)) {
          readByItsOwnName(queued);
          break;
        }
      }
      queueHead++;
      settle(queued);
    }
    if (queueHead === queue.length) {
      queue.length = 0;
      queueHead = 0;
    } else if (queueHead > QUEUE_ENTRIES) {
      queue.splice(0, queueHead);
      queueHead = 0;
    }
  }

  /** By the first name of an inode another file was read, which was put in its place meanwhile. */
  function readByItsOwnName(queued: QueuedEntry): void {
    const { link, read, entry } = queued;
    // Perhaps the name before this one has been read by itself already.
    const isReadAgain = link?.read !== undefined && link.read !== read;
    queued.read = isReadAgain ? link.read : reader.read(entry);
    queued.isReadHere = !isReadAgain;
    if (link !== undefined) link.read = queued.read;
  }

  /** For logs that are kept although the run failed. */
  function noteWhatIsDone(): void {
    try {
      drain();
    } catch {
      // What failed is in the queue too.
    }
  }

  function settle(queued: QueuedEntry): void {
    const { entry, known: before, link } = queued;
    const made =
      before?.same === "all"
        ? {
            encoded: link === undefined ? before.encoded : withLinkGroup(before.encoded, link),
            listedIds: before.listedIds,
            stat: entry.stat,
            stable: true,
          }
        : encodeChanged(queued);
    if (made === undefined) return notAsListed(entry.depth);
    const { encoded, listedIds, stat } = made;
    const { depth, digest } = entry;
    if (queued.whole !== undefined) return settleWhole(queued, encoded, queued.whole);
    if (stat.type === "directory") {
      trees.openDirectory(depth, encoded);
      folders[depth] = { digest, isComplete: true };
    } else {
      trees.add(depth, encoded);
    }
    const ageMs = queued.listedMs - (stat.ctimeSeconds * 1000 + stat.ctimeNanoseconds / 1e6);
    const trust = made.stable && ageMs > RACY_MS ? "all" : "nothing";
    // Of a file that was changed after it was listed, the list may be the same again without its content being so.
    if (trust === "nothing" || stat.sizeBytes !== entry.stat.sizeBytes) notAsListed(depth);
    const isSame = before?.same === "all" && encoded === before.encoded && digest === before.digest && trust === "all";
    log?.add({ depth, stat, encoded, listedIds, digest, trust, sameAs: isSame ? before.position : undefined });
    // It had to be read, as it was changed just before the last run, perhaps only so.
    const isAsBefore = queued.previous?.equals(encoded) === true;
    count(entry, isAsBefore ? "unmodified" : queued.change, stat);
  }

  function settleWhole({ entry }: QueuedEntry, encoded: Buffer, whole: KnownFolder): void {
    const { treeId, files, directories, others, bytes } = whole;
    const complete = Buffer.from(encoded);
    contentIds(complete, (idOffset) => complete.set(treeId, idOffset));
    trees.add(entry.depth, complete);
    log?.addFolder(whole);
    counts.files.unmodified += files;
    counts.directories.unmodified += directories;
    counts.others.unmodified += others;
    progress.files += files;
    progress.directories += directories;
    progress.others += others;
    progress.bytes += bytes;
    count(entry, "unmodified", entry.stat);
  }

  /** The directory in which an entry of this depth lies must be looked at again next time. */
  function notAsListed(depth: number): void {
    if (depth > 0) folders[depth - 1].isComplete = false;
  }

  function closeFolder(depth: number, treeIds: readonly BlobId[]): void {
    const { digest, isComplete } = folders[depth];
    if (!isComplete || digest === undefined) notAsListed(depth);
    else log?.addFolderEnd(depth, treeIds);
  }

  /** The encoding of a new or changed entry; undefined where it could not be read. */
  function encodeChanged(queued: QueuedEntry): EncodedEntry | undefined {
    const { entry, read, link } = queued;
    const hardLink = link && !isOfOtherInode(queued) ? links.idFor(link, entry.path) : undefined;
    if (read === undefined) return encodeUnread(queued, hardLink);
    const { result } = read;
    if (result === undefined) throw new Error("an entry was settled before it was read");
    if ("failure" in result) {
      const { during, message, code } = result.failure;
      report(entry.path, during, Object.assign(new Error(message), { code }));
      return undefined;
    }
    let stat = result.stat ?? entry.stat;
    if (result.changedWhileRead) report(entry.path, "read", new Error("it was changed while it was read"));
    if (queued.isReadHere) {
      added.bytes += result.newBytes;
      added.dataBlobs += result.newBlobs;
    }
    const blobsOfFile = contentBlobs(result.ids, result.lengths);
    for (const blob of blobsOfFile) destination.need(blob.id);
    const { holes } = result;
    let { xattrs } = result;
    if (xattrs === undefined) {
      // Only reading a stream to its end tells how long it is.
      const sizeBytes = lengthOf(blobsOfFile) + lengthOf(holes);
      if (sizeBytes !== stat.sizeBytes) stat = { ...stat, sizeBytes };
      if (!areWithin(holes, stat.sizeBytes)) {
        report(entry.path, "read", new Error("its holes do not fit with what was read"));
        return undefined;
      }
      try {
        ({ xattrs } = source.details(entry));
      } catch (error) {
        report(entry.path, "read", error);
        return undefined;
      }
    }
    const { content, listed } = listContent(blobsOfFile, storeTree);
    const parts = { name: entry.name, stat, xattrs, target: undefined, hardLink, content, listed, holes };
    const encoded = encode(entry.path, treeEntryOf(parts, source.owners));
    const listedIds = listed ? result.ids : NO_IDS;
    return encoded && { encoded, listedIds, stat, stable: !result.changedWhileRead };
  }

  /** An entry whose content, if it has any, is known from before. */
  function encodeUnread(queued: QueuedEntry, hardLink: Buffer | undefined): EncodedEntry | undefined {
    const { entry, known: before } = queued;
    const { name, path, stat } = entry;
    let details: EntryDetails;
    try {
      details = source.details(entry);
    } catch (error) {
      report(path, "read", error);
      // A directory stands for all that is in it: it stays, with what `stat` told of it.
      if (stat.type !== "directory") return undefined;
      details = { xattrs: [], target: undefined };
    }
    const file = before === undefined ? undefined : decodeEntry(before.encoded);
    const { content, holes, listed = false } = file?.type === "file" ? file : { content: [], holes: [] };
    const made = treeEntryOf({ name, stat, hardLink, content, holes, listed, ...details }, source.owners);
    const encoded = encode(path, made);
    return encoded && { encoded, listedIds: before?.listedIds ?? NO_IDS, stat, stable: true };
  }

  /** As it stands in a tree; undefined for what no tree can hold. One odd file must not end the whole backup. */
  function encode(path: RawPath, entry: TreeEntry): Buffer | undefined {
    let encoded: Buffer | undefined;
    try {
      encoded = encodeEntry(entry);
      if (encoded.length <= MAXIMUM_ENTRY_BYTES) return encoded;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      report(path, "save", error);
    }
    if (encoded !== undefined && entry.xattrs.length > 0) {
      report(path, "save", new Error("it has more extended attributes than can be kept: it is saved without them"));
      return encode(path, { ...entry, xattrs: [] });
    }
    if (encoded !== undefined) {
      report(path, "save", new Error(`it takes ${encoded.length} bytes in its folder, which is too much`));
    }
    // A directory stands for all that is in it.
    return entry.type === "directory" ? encodeEntry(plainDirectory(entry)) : undefined;
  }

  function count(entry: SourceEntry, change: EntryChange, stat: FileStat): void {
    if (stat.type === "file") {
      counts.files[change]++;
      progress.files++;
      progress.bytes += stat.sizeBytes;
    } else if (stat.type === "directory") {
      counts.directories[change]++;
      progress.directories++;
    } else {
      counts.others[change]++;
      progress.others++;
    }
    options.onEntry?.(entry.path, change, stat);
  }

  /** Waits until at most `limit` entries are queued. */
  async function drainTo(limit: number): Promise<void> {
    for (;;) {
      drain();
      if (queue.length - queueHead <= limit) return;
      throwIfStopped();
      reader.dispatch();
      await reader.progress();
    }
  }

  function throwIfStopped(): void {
    if (signal?.aborted === true) {
      throw new InterruptedError("the backup was interrupted; nothing is lost, and the next run goes on from here");
    }
  }

  signal?.addEventListener("abort", reader.wake);
  const scanning = scanWhileWaiting();
  // What goes wrong in a log shows again where it is asked.
  scanning.catch(() => undefined);
  try {
    for await (const batch of untilAborted(source.entries(), signal)) {
      throwIfStopped();
      const listedMs = Date.now();
      for (const entry of batch) {
        if (entry.depth > skippedDepth) continue;
        skippedDepth = enqueue(entry, listedMs) ? entry.depth : Number.POSITIVE_INFINITY;
        if (skippedDepth < Number.POSITIVE_INFINITY) source.skip?.(entry);
      }
      listedEntries += batch.length;
      if (listedEntries > MANY_ENTRIES) boundHeap();
      await reader.ready();
      await destination.ready();
      await drainTo(QUEUE_ENTRIES);
    }
    throwIfStopped();
    reader.dispatch();
    await drainTo(0);
    await pool.flush();
    await source.finish?.();
    throwIfStopped();
    const root = decodeTop(trees.finish());
    treeFrames.flush();
    throwIfStopped();
    const { files, directories, others, bytes: sizeBytes, problems } = progress;
    const committed = await destination.commit({
      host: options.snapshot.host,
      group: options.snapshot.group,
      parent: options.snapshot.parent,
      counts: { files, directories, others },
      sizeBytes,
      addedBytes: added.bytes,
      storedBytes: destination.progress.givenBytes,
      complete: problems === 0,
      sealed: {
        paths: options.snapshot.paths,
        tags: options.snapshot.tags,
        root,
        user: options.snapshot.user,
        program: options.snapshot.program,
        excludes: options.snapshot.excludes,
        statistics: {
          filesNew: counts.files.new,
          filesChanged: counts.files.changed,
          filesUnmodified: counts.files.unmodified,
          directoriesNew: counts.directories.new,
          directoriesChanged: counts.directories.changed,
          directoriesUnmodified: counts.directories.unmodified,
          dataBlobs: added.dataBlobs,
          treeBlobs: added.treeBlobs,
          problems,
        },
      },
    });
    log?.commit();
    return {
      snapshotId: committed.id,
      timeMs: committed.timeMs,
      ...counts,
      totalFiles: files,
      totalBytes: sizeBytes,
      dataBlobs: added.dataBlobs,
      treeBlobs: added.treeBlobs,
      addedBytes: added.bytes,
      storedBytes: destination.progress.givenBytes,
      problems,
    };
  } catch (error) {
    // Nothing more is to come from the workers when it is stored what has come.
    await pool.close();
    noteWhatIsDone();
    log?.discard();
    // What is told is why it failed, not that what was saved of it could not be kept either.
    await destination.abandon().catch(() => undefined);
    throw error;
  } finally {
    signal?.removeEventListener("abort", reader.wake);
    isOver = true;
    await scanning.catch(() => undefined);
    lastRun?.close();
    await pool.close();
    destination.close();
  }
}

function needsNoReading(entry: SourceEntry, { same }: KnownEntry): boolean {
  if (entry.isToBeRead === true) return false;
  return same === "all" || (same === "content" && entry.stat.type === "file" && entry.detailsComeWithContent !== true);
}

/** With all below a tree blob's limit, whatever stands beside it in the leaf. */
const MAXIMUM_ENTRY_BYTES = 6 * 1024 * 1024;

/** A directory with nothing that a tree could not hold, but its name. */
function plainDirectory({ name, tree }: DirectoryEntry): DirectoryEntry {
  const attributes = { mode: 0o700, uid: 0, gid: 0, user: "", group: "", mtimeSeconds: 0, mtimeNanoseconds: 0 };
  return { name, type: "directory", tree, ...attributes, inodeFlags: 0, xattrs: [], hardLink: undefined };
}

/** Whether what was read is of another inode than the one that was listed. */
function isOfOtherInode({ entry, read }: QueuedEntry): boolean {
  const result = read?.result;
  if (result === undefined || "failure" in result || result.stat === undefined) return false;
  const { inodeHigh, inodeLow, deviceMajor, deviceMinor } = result.stat;
  const { stat } = entry;
  return (
    inodeLow !== stat.inodeLow ||
    inodeHigh !== stat.inodeHigh ||
    deviceMajor !== stat.deviceMajor ||
    deviceMinor !== stat.deviceMinor
  );
}

function areWithin(holes: readonly Hole[], sizeBytes: number): boolean {
  let end = 0;
  for (const { offset, lengthBytes } of holes) {
    if (offset < end || lengthBytes <= 0) return false;
    end = offset + lengthBytes;
  }
  return end <= sizeBytes;
}

/** Gives what comes until the signal says stop, and then ends even where nothing comes. */
async function* untilAborted<Item>(items: AsyncIterable<Item>, signal: AbortSignal | undefined): AsyncGenerator<Item> {
  const iterator = items[Symbol.asyncIterator]();
  let stop = (): void => undefined;
  const onAbort = (): void => stop();
  signal?.addEventListener("abort", onAbort);
  /** A new promise each time: one that waits for the signal all along would hold all that ever came beside it. */
  const nextOrStop = (): Promise<IteratorResult<Item> | undefined> =>
    new Promise((resolve, reject) => {
      stop = () => resolve(undefined);
      if (signal?.aborted === true) stop();
      else iterator.next().then(resolve, reject);
    });
  try {
    for (;;) {
      const next = await nextOrStop();
      if (next === undefined || next.done === true) return;
      yield next.value;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    // Not waited for: whoever is asked may be waiting for something that never comes.
    void iterator.return?.().catch(() => undefined);
  }
}

function noChanges(): ChangeCounts {
  return { new: 0, changed: 0, unmodified: 0 };
}

function decodeTop(encoded: Buffer): DirectoryEntry {
  const entry: TreeEntry = decodeEntry(encoded);
  if (entry.type !== "directory") throw new HoldfastError("the top of the source is no directory");
  return entry;
}
