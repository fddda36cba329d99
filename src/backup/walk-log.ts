import { access, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { sha256Hex } from "../crypto/keyed-hash.ts";
import { entryName } from "../format/tree.ts";
import type { FileStat } from "../platform/file-stat.ts";
import { makeFolder } from "../platform/make-folder.ts";
import { ALWAYS_READ_SECONDS, type SourceEntry } from "../source/source.ts";
import { createFolderScan, type FolderContent, type FrameOf, type Need, readFolder } from "./known-folders.ts";
import {
  createLogFile,
  CTIME_NANOSECONDS,
  CTIME_SECONDS,
  DEPTH,
  ENTRY,
  ENTRY_LENGTH,
  FOLDER_END,
  INODE_HIGH,
  INODE_LOW,
  type LogFile,
  MAXIMUM_DEPTH,
  MTIME_NANOSECONDS,
  MTIME_SECONDS,
  NO_IDS,
  openRecords,
  type Records,
  SIZE,
  TRUST,
  TRUSTS,
  TYPE,
  TYPES,
  type WalkRecord,
} from "./walk-log-file.ts";

/**
 * What the last run saw, in walk order, so that the next one tells at a glance what has not changed.
 *
 * A local file and only a cache: losing it costs time. It holds, for each entry, what `stat` gave and the entry as it was
 * encoded for the tree (a directory's with a tree id of zeros). It is read alongside the walk, and written anew beside it;
 * neither is ever held in memory.
 */
export interface KnownEntry {
  /** The entry as encoded for its tree; the memory is not written to again. */
  readonly encoded: Buffer;
  /**
   * What has not changed: `all`; the `content` (as far as size and modification time tell), while attributes are not
   * known; or `nothing`.
   */
  readonly same: "all" | "content" | "nothing";
  /** Of a file with content lists: the ids of all its blobs, 32 bytes each. */
  readonly listedIds: Buffer;
  /** Of a directory: see `SourceEntry.digest`. */
  readonly digest: string | undefined;
  /** Which record of the log it is, from 0. */
  readonly position: number;
}

/** All that a log holds of a directory, and of what is below it. */
export interface KnownFolder extends FolderContent {
  /** The records of the directory and of what is below it: from this one on, up to before that one. */
  readonly from: number;
  readonly to: number;
}

/** What is asked about blobs; see `Destination`. */
export interface BlobNeeds {
  need: Need;
  needFrame(frame: number): void;
}

/** What an earlier run or snapshot knows, given entry by entry in walk order. */
export interface KnownEntries {
  /** What is known of the entry; undefined where it is new. Entries must come in walk order, each once. */
  match(entry: SourceEntry): KnownEntry | undefined;
  /**
   * All that is known of the directory that was matched last, if it is said to have been saved whole and all blobs are there.
   * Nothing below it may be matched then. Undefined where it is not so, and what is below it can be matched one by one.
   */
  takeFolder?(depth: number, needs: BlobNeeds): KnownFolder | undefined;
  /** Finds out beforehand, a step at a time, what `takeFolder` would be asked for. */
  scanFolders?(frameOf: FrameOf): Generator<void, void, undefined>;
  close(): void;
}

/** What the last run has left. */
export interface WalkLog extends KnownEntries {
  /** Whether there are records behind the last one that was matched. */
  hasMore(): boolean;
  /** All records as they stand in the log, whatever was matched. */
  records(): Generator<Uint8Array, void, undefined>;
  takeFolder(depth: number, needs: BlobNeeds): KnownFolder | undefined;
}

/** What may be different though a file is the same, because its file system makes it up anew: then content is trusted. */
export interface IgnoredDifferences {
  readonly ctime: boolean;
  readonly inode: boolean;
}

const NOTHING_IGNORED: IgnoredDifferences = { ctime: false, inode: false };
export const ALL_IGNORED: IgnoredDifferences = { ctime: true, inode: true };

/** Reads a log; undefined where there is none, or none that can be used. */
export function openWalkLog(path: string, ignored = NOTHING_IGNORED): WalkLog | undefined {
  const opened = openRecords(path);
  if (opened === undefined) return undefined;
  const records = opened;
  /** matched[d]: the directory at depth d of the current path stands in the log, and the log is inside it. */
  const matched: boolean[] = [];
  let at = records.next();
  let position = 0;

  const scan = createFolderScan();

  /** By way of the descriptor: another run may have put its own log in this one's place. */
  function reopen(): Records {
    const again = openRecords(`/proc/self/fd/${records.fd}`);
    if (again === undefined) throw new Error(`${path} cannot be read again`);
    return again;
  }

  function advance(): void {
    at = records.next();
    position++;
  }

  return {
    match(entry) {
      const depth = entry.depth;
      matched.length = Math.min(matched.length, depth);
      if (depth > 0 && !matched[depth - 1]) return undefined;
      for (;;) {
        if (at < 0) return undefined;
        const block = records.block;
        const recordDepth = block.readUInt16LE(at + DEPTH);
        if (recordDepth < depth) return undefined;
        if (recordDepth === depth && block[at + TYPE] !== FOLDER_END) {
          const entryEnd = at + ENTRY + block.readUInt32LE(at + ENTRY_LENGTH);
          const encoded = block.subarray(at + ENTRY, entryEnd);
          const name = entryName(encoded);
          if (name > entry.name) return undefined;
          if (name === entry.name) {
            const end = at + 4 + block.readUInt32LE(at);
            const isDirectory = block[at + TYPE] === TYPES.directory;
            const listedIds = isDirectory || end === entryEnd ? NO_IDS : block.subarray(entryEnd, end);
            const digest = isDirectory && end > entryEnd ? block.latin1Slice(entryEnd, end) : undefined;
            const same = compare(block, at, entry.stat, ignored);
            matched[depth] = entry.stat.type === "directory" && isDirectory;
            advance();
            return { encoded, same, listedIds, digest, position: position - 1 };
          }
        }
        advance();
      }
    },
    takeFolder(depth, needs) {
      const from = position - 1;
      const scanned = scan.find(from);
      if (scanned !== undefined) {
        scanned.frames.forEach(needs.needFrame);
        at = records.returnTo(scanned.next);
        position = scanned.to;
        return { ...scanned, from };
      }
      const start = records.mark();
      const folder = readFolder(records, at, depth, needs.need);
      if (folder === undefined) {
        at = records.returnTo(start);
        return undefined;
      }
      at = records.next();
      position += folder.recordCount;
      return { ...folder, from, to: position };
    },
    *scanFolders(frameOf) {
      const again = reopen();
      try {
        yield* scan.steps(again, frameOf);
      } finally {
        again.close();
      }
    },
    hasMore: () => at >= 0,
    *records() {
      const again = reopen();
      try {
        for (let start = again.next(); start >= 0; start = again.next()) {
          yield again.block.subarray(start, start + 4 + again.block.readUInt32LE(start));
        }
      } finally {
        again.close();
      }
    },
    close: records.close,
  };
}

function compare(block: Buffer, at: number, stat: FileStat, ignored: IgnoredDifferences): KnownEntry["same"] {
  const trust = block[at + TRUST];
  if (
    trust === TRUSTS.nothing ||
    block[at + TYPE] !== TYPES[stat.type] ||
    block.readUInt32LE(at + MTIME_NANOSECONDS) !== stat.mtimeNanoseconds ||
    block.readDoubleLE(at + MTIME_SECONDS) !== stat.mtimeSeconds ||
    (block.readDoubleLE(at + SIZE) !== stat.sizeBytes && stat.type !== "directory")
  )
    return "nothing";
  if (trust === TRUSTS.content) return "content";
  const sameCtime =
    block.readUInt32LE(at + CTIME_NANOSECONDS) === stat.ctimeNanoseconds &&
    block.readDoubleLE(at + CTIME_SECONDS) === stat.ctimeSeconds;
  const sameInode =
    block.readUInt32LE(at + INODE_LOW) === stat.inodeLow && block.readUInt32LE(at + INODE_HIGH) === stat.inodeHigh;
  if (sameCtime && sameInode) return "all";
  if (stat.ctimeSeconds === ALWAYS_READ_SECONDS) return "nothing";
  // With another ctime the content may have been changed and the modification time been set back.
  return (sameCtime || ignored.ctime) && (sameInode || ignored.inode) ? "content" : "nothing";
}

/**
 * Writes a log beside the one that is there, and puts it in its place at the end. As long as all is as in the log of the
 * last run, nothing is written: if it stays so to the end, that log stays; else its first records are copied.
 */
export interface WalkLogWriter {
  add(record: WalkRecord): void;
  /** A directory with all below it, as the last run's log has it. */
  addFolder(folder: KnownFolder): void;
  /** Behind all that is below a directory with a digest: that all of it was saved, as it was listed. */
  addFolderEnd(depth: number, treeIds: readonly Uint8Array[]): void;
  commit(): void;
  discard(): void;
}

/** A writer of which whoever made it may ask more. */
export interface WalkLogFile extends WalkLogWriter {
  /** Whether there was anything so far that the last run's log does not say at the same place. */
  readonly hasDiverged: () => boolean;
}

export function createWalkLog(path: string, known?: WalkLog): WalkLogFile {
  let writer: LogFile | undefined;
  let same = 0;
  let records: Generator<Uint8Array, void, undefined> | undefined;
  /** How many of the last run's records were gone through. */
  let passed = 0;

  function diverge(): LogFile {
    if (writer === undefined) {
      writer = createLogFile(path);
      copyRecords(writer, 0, same);
    }
    return writer;
  }

  /** Copies records of the last run's log, which must lie behind those that were copied before. */
  function copyRecords(to: LogFile, from: number, end: number): void {
    if (end === from) return;
    records ??= known?.records();
    for (; passed < end; passed++) {
      const record = records?.next();
      if (record === undefined || record.done === true)
        throw new Error(`the log of the last run ends before its record ${passed}`);
      if (passed >= from) to.append(record.value);
    }
  }

  function finish(): void {
    records?.return();
    records = undefined;
  }

  return {
    add(record) {
      if (record.depth > MAXIMUM_DEPTH) return;
      if (writer === undefined && known !== undefined && record.sameAs === same) same++;
      else diverge().add(record);
    },
    addFolder({ from, to }) {
      if (writer === undefined && from === same) same = to;
      else copyRecords(diverge(), from, to);
    },
    addFolderEnd(depth, treeIds) {
      if (depth <= MAXIMUM_DEPTH) diverge().addFolderEnd(depth, treeIds);
    },
    commit() {
      if (writer === undefined && same > 0 && known?.hasMore() === false) return;
      diverge().commit();
      finish();
    },
    discard() {
      finish();
      writer?.discard();
    },
    hasDiverged: () => writer !== undefined,
  };
}

/**
 * A log that costs no backup: where it cannot be written (a full disc, a quota), that is told once, and it is given up. The
 * next run then reads again what this one read.
 */
export function givenUpOnFailure(log: WalkLogWriter, onFailure: (error: unknown) => void): WalkLogWriter {
  let isGivenUp = false;

  function attempt(work: () => void): void {
    if (isGivenUp) return;
    try {
      work();
    } catch (error) {
      isGivenUp = true;
      onFailure(error);
      try {
        log.discard();
      } catch {
        // What could not be written can perhaps not be removed either.
      }
    }
  }

  return {
    add: (record) => attempt(() => log.add(record)),
    addFolder: (folder) => attempt(() => log.addFolder(folder)),
    addFolderEnd: (depth, treeIds) => attempt(() => log.addFolderEnd(depth, treeIds)),
    commit: () => attempt(() => log.commit()),
    discard: () => attempt(() => log.discard()),
  };
}

/**
 * Whether a backup of the same kind has left a log, as far as can be told before the repository is open. `what` tells
 * where it goes and what it saves.
 */
export async function isWalkLogExpected(cacheDirectory: string, what: readonly string[]): Promise<boolean> {
  return access(markerPath(cacheDirectory, what)).then(
    () => true,
    () => false,
  );
}

/** Notes for the next time that there is a log. That it cannot be noted costs a little time then. */
export async function expectWalkLog(cacheDirectory: string, what: readonly string[]): Promise<void> {
  const marker = markerPath(cacheDirectory, what);
  try {
    makeFolder(dirname(marker));
    await writeFile(marker, "", { mode: 0o600 });
  } catch {
    // The cache is not there, or full.
  }
}

function markerPath(cacheDirectory: string, what: readonly string[]): string {
  return `${cacheDirectory}/walked/${sha256Hex(Buffer.from(JSON.stringify(what))).slice(0, 32)}`;
}

/** Where the log of a repository, host and set of paths lies. */
export function walkLogPath(cacheDirectory: string, repositoryId: string, group: string): string {
  return `${cacheDirectory}/${repositoryId}/walk/${group}`;
}
