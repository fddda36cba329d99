import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { access, mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { checksum16, sha256Hex } from "../crypto/keyed-hash.ts";
import { entryName } from "../format/tree.ts";
import type { FileStat } from "../platform/file-stat.ts";
import type { SourceEntry } from "../source/source.ts";

/**
 * What the last run saw, in walk order, so that the next one tells at a glance what has not changed.
 *
 * A local file and only a cache: losing it costs time. It holds, for each entry, what `stat` gave and the entry as it was
 * encoded for the tree (a directory's with a tree id of zeros). It is read alongside the walk, and written anew beside it;
 * neither is ever held in memory.
 *
 * File: `"HFWL" u8 version`, then blocks: u32 length before and u32 after compression (zstd), [16] checksum (first 16
 * bytes of BLAKE3) of what follows: the block's records, compressed. What the log says is believed, so it must be whole.
 * Record: u32 length of all that follows; u16 depth; u8 type; u8 trust (see `Trust`); f64 size, f64 mtime seconds, u32 mtime
 * nanoseconds, f64 ctime seconds, u32 ctime nanoseconds, u32 inode high, u32 inode low; u32 length of the encoded entry,
 * and the entry; then, for a file with content lists, the 32-byte ids of all its blobs, and for a directory whose source
 * tells it, its digest.
 *
 * A directory with a digest that was saved with all that was below it has a second record behind that, of type 8: zeros,
 * and the 32-byte ids of its tree and of the parts that this was split into. (Version 3 had no such records and no digests.)
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

/** All that a log holds of a directory. */
export interface KnownFolder {
  readonly treeId: Buffer;
  /** The records of the directory and of what is below it: from this one on, up to before that one. */
  readonly from: number;
  readonly to: number;
}

/** Looks at what a log holds of a directory; where one of these gives false, all was in vain. */
export interface FolderVisitor {
  /** The encoded entry lies in `block` from `at` on. */
  entry(block: Buffer, at: number, listedIds: Buffer, type: FileStat["type"], sizeBytes: number): boolean;
  /** Ids of a directory's tree and its parts, 32 bytes each. */
  tree(ids: Buffer): boolean;
}

/**
 * How much an entry's record tells the next run: all; nothing, as it was changed in the moment when it was read; or only
 * about its content, as the record was made from a snapshot, which knows neither inode nor ctime.
 */
export type Trust = "all" | "nothing" | "content";

/** What an earlier run or snapshot knows, given entry by entry in walk order. */
export interface KnownEntries {
  /** What is known of the entry; undefined where it is new. Entries must come in walk order, each once. */
  match(entry: SourceEntry): KnownEntry | undefined;
  /**
   * All that is known of the directory that was matched last: if it is said to have been saved whole, and the visitor agrees.
   * Nothing below it may be matched then. Undefined where it is not so, and what is below it can be matched one by one.
   */
  takeFolder?(depth: number, visitor: FolderVisitor): KnownFolder | undefined;
  close(): void;
}

/** What the last run has left. */
export interface WalkLog extends KnownEntries {
  /** Whether there are records behind the last one that was matched. */
  hasMore(): boolean;
  /** All records as they stand in the log, whatever was matched. */
  records(): Generator<Uint8Array, void, undefined>;
  takeFolder(depth: number, visitor: FolderVisitor): KnownFolder | undefined;
}

const MAGIC = Buffer.from([0x48, 0x46, 0x57, 0x4c, 4]);
const OLDEST_VERSION = 3;
const BLOCK_HEAD_BYTES = 8 + 16;
const BLOCK_BYTES = 512 * 1024;
const MAXIMUM_BLOCK_BYTES = 2 ** 31 - 1;

/** Deeper entries are not logged, and so read afresh each time. */
const MAXIMUM_DEPTH = 0xffff;

const DEPTH = 4;
const TYPE = 6;
const TRUST = 7;
const SIZE = 8;
const MTIME_SECONDS = 16;
const MTIME_NANOSECONDS = 24;
const CTIME_SECONDS = 28;
const CTIME_NANOSECONDS = 36;
const INODE_HIGH = 40;
const INODE_LOW = 44;
const ENTRY_LENGTH = 48;
const ENTRY = 52;

const ID_BYTES = 32;
const NO_IDS = Buffer.alloc(0);

const TRUSTS: Record<Trust, number> = { all: 0, nothing: 1, content: 2 };

const TYPES: Record<FileStat["type"], number> = {
  file: 1,
  directory: 2,
  symlink: 3,
  fifo: 4,
  socket: 5,
  char: 6,
  block: 7,
};
/** What stands behind all that is below a directory. */
const FOLDER_END = 8;

const TYPE_NAMES = new Map(Object.entries(TYPES).map(([name, type]) => [type, name as FileStat["type"]]));

/** What may be different though a file is the same, because its file system makes it up anew: then content is trusted. */
export interface IgnoredDifferences {
  readonly ctime: boolean;
  readonly inode: boolean;
}

const NOTHING_IGNORED: IgnoredDifferences = { ctime: false, inode: false };

/** Reads a log; undefined where there is none, or none that can be used. */
export function openWalkLog(path: string, ignored = NOTHING_IGNORED): WalkLog | undefined {
  const opened = openRecords(path);
  if (opened === undefined) return undefined;
  const records = opened;
  /** matched[d]: the directory at depth d of the current path stands in the log, and the log is inside it. */
  const matched: boolean[] = [];
  let at = records.next();
  let position = 0;

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
    takeFolder(depth, visitor) {
      const [start, from] = [records.mark(), position - 1];
      while (at >= 0) {
        const block = records.block;
        const recordDepth = block.readUInt16LE(at + DEPTH);
        const isEnd = block[at + TYPE] === FOLDER_END;
        if (recordDepth < depth || (recordDepth === depth && !isEnd)) break;
        if (!visit(block, at, visitor)) break;
        const treeId = block.subarray(at + ENTRY, at + ENTRY + ID_BYTES);
        advance();
        if (recordDepth === depth) return { treeId, from, to: position };
      }
      at = records.returnTo(start);
      position = from + 1;
      return undefined;
    },
    hasMore: () => at >= 0,
    *records() {
      // By way of the descriptor: another run may have put its own log in this one's place.
      const again = openRecords(`/proc/self/fd/${records.fd}`);
      if (again === undefined) throw new Error(`${path} cannot be read again`);
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

function visit(block: Buffer, at: number, visitor: FolderVisitor): boolean {
  const entryEnd = at + ENTRY + block.readUInt32LE(at + ENTRY_LENGTH);
  const end = at + 4 + block.readUInt32LE(at);
  if (block[at + TYPE] === FOLDER_END) return end - entryEnd >= ID_BYTES && visitor.tree(block.subarray(entryEnd, end));
  const type = TYPE_NAMES.get(block[at + TYPE]);
  if (type === undefined) return false;
  const listedIds = type === "directory" || end === entryEnd ? NO_IDS : block.subarray(entryEnd, end);
  return visitor.entry(block, at + ENTRY, listedIds, type, block.readDoubleLE(at + SIZE));
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
  // With another ctime the content may have been changed and the modification time been set back.
  return (sameCtime || ignored.ctime) && (sameInode || ignored.inode) ? "content" : "nothing";
}

interface Records {
  readonly fd: number;
  /** The block that holds the current record. */
  readonly block: Buffer;
  /** Goes on to the next record and gives its offset in `block`, or -1 at the end or where the log is damaged. */
  next(): number;
  /** The place of the current record, and the way back to it: then the result is as of `next`. */
  mark(): RecordMark;
  returnTo(mark: RecordMark): number;
  close(): void;
}

interface RecordMark {
  readonly blockStart: number;
  readonly at: number;
}

function openRecords(path: string): Records | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return undefined;
  }
  const head = Buffer.alloc(BLOCK_HEAD_BYTES);
  let open = readWhole(fd, head.subarray(0, MAGIC.length), 0) && isOurs(head);
  let block: Buffer = Buffer.alloc(0);
  /** Where the block, and the one after it, lie in the file. */
  let blockStart = 0;
  let nextBlock = MAGIC.length;
  let at = 0;
  let nextAt = 0;

  /** A damaged block ends the log: the rest is then read afresh. */
  function readBlock(): boolean {
    blockStart = nextBlock;
    if (!open || !readWhole(fd, head, blockStart)) return false;
    const rawLength = head.readUInt32LE(0);
    const length = head.readUInt32LE(4);
    if (rawLength > MAXIMUM_BLOCK_BYTES || length > MAXIMUM_BLOCK_BYTES) return false;
    // A damaged length must not cost memory.
    if (length > fstatSync(fd).size) return false;
    const compressed = Buffer.allocUnsafe(length);
    if (!readWhole(fd, compressed, blockStart + BLOCK_HEAD_BYTES)) return false;
    nextBlock = blockStart + BLOCK_HEAD_BYTES + length;
    if (!checksum16(compressed).equals(head.subarray(8))) return false;
    try {
      block = zstdDecompressSync(compressed, { maxOutputLength: rawLength, chunkSize: Math.max(rawLength, 64) });
    } catch {
      return false;
    }
    return block.length === rawLength;
  }

  const records: Records = {
    fd,
    get block() {
      return block;
    },
    next() {
      at = nextAt;
      if (at + 4 > block.length) {
        if (!readBlock()) {
          open = false;
          block = Buffer.alloc(0);
          nextAt = 0;
          return -1;
        }
        at = 0;
      }
      const whole =
        at + ENTRY <= block.length &&
        (nextAt = at + 4 + block.readUInt32LE(at)) <= block.length &&
        at + ENTRY + block.readUInt32LE(at + ENTRY_LENGTH) <= nextAt;
      if (whole) return at;
      open = false;
      nextAt = Infinity;
      return -1;
    },
    mark: () => ({ blockStart, at }),
    returnTo(mark) {
      if (mark.blockStart !== blockStart) {
        nextBlock = mark.blockStart;
        open = true;
        if (!readBlock()) block = Buffer.alloc(0);
      }
      nextAt = mark.at;
      return records.next();
    },
    close: () => closeSync(fd),
  };
  return records;
}

function isOurs(head: Buffer): boolean {
  const version = head[MAGIC.length - 1];
  return (
    head.subarray(0, MAGIC.length - 1).equals(MAGIC.subarray(0, -1)) &&
    version >= OLDEST_VERSION &&
    version <= MAGIC[MAGIC.length - 1]
  );
}

/** Fills a buffer from a place of the file; false where the file ends before, or cannot be read. */
function readWhole(fd: number, buffer: Buffer, position: number): boolean {
  try {
    return readSync(fd, buffer, 0, buffer.length, position) === buffer.length;
  } catch {
    return false;
  }
}

export interface WalkRecord {
  readonly depth: number;
  readonly stat: LoggedStat;
  readonly encoded: Uint8Array;
  readonly listedIds: Uint8Array;
  /** Of a directory, see `SourceEntry.digest`. */
  readonly digest?: string | undefined;
  readonly trust: Trust;
  /** Where the last run's log has the very same record; undefined where it has not. */
  readonly sameAs: number | undefined;
}

type LoggedStat = Pick<
  FileStat,
  | "type"
  | "sizeBytes"
  | "mtimeSeconds"
  | "mtimeNanoseconds"
  | "ctimeSeconds"
  | "ctimeNanoseconds"
  | "inodeHigh"
  | "inodeLow"
>;

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

interface LogFile {
  add(record: WalkRecord): void;
  addFolderEnd(depth: number, treeIds: readonly Uint8Array[]): void;
  /** A whole record, as it stands in another log. */
  append(record: Uint8Array): void;
  commit(): void;
  discard(): void;
}

function createLogFile(path: string): LogFile {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}.new`;
  const fd = openSync(temporary, "w", 0o600);
  writeSync(fd, MAGIC);
  let block = Buffer.allocUnsafe(BLOCK_BYTES + 64 * 1024);
  let end = 0;

  function writeBlock(): void {
    if (end === 0) return;
    const compressed = zstdCompressSync(block.subarray(0, end), {
      chunkSize: end + 1024,
      params: { [constants.ZSTD_c_compressionLevel]: 1 },
    });
    const head = Buffer.allocUnsafe(BLOCK_HEAD_BYTES);
    head.writeUInt32LE(end, 0);
    head.writeUInt32LE(compressed.length, 4);
    head.set(checksum16(compressed), 8);
    writeSync(fd, head);
    writeSync(fd, compressed);
    end = 0;
  }

  /** Makes room for a record, which is then written from `end` on. */
  function reserve(length: number): void {
    if (end >= BLOCK_BYTES || end + length > block.length) writeBlock();
    if (length > block.length) block = Buffer.allocUnsafe(length + BLOCK_BYTES);
  }

  let isOpen = true;

  function close(): void {
    if (isOpen) closeSync(fd);
    isOpen = false;
  }

  return {
    add({ depth, stat, encoded, listedIds, digest = "", trust }) {
      const length = ENTRY + encoded.length + listedIds.length + digest.length;
      reserve(length);
      block.writeUInt32LE(length - 4, end);
      block.writeUInt16LE(depth, end + DEPTH);
      block[end + TYPE] = TYPES[stat.type];
      block[end + TRUST] = TRUSTS[trust];
      block.writeDoubleLE(stat.sizeBytes, end + SIZE);
      block.writeDoubleLE(stat.mtimeSeconds, end + MTIME_SECONDS);
      block.writeUInt32LE(stat.mtimeNanoseconds, end + MTIME_NANOSECONDS);
      block.writeDoubleLE(stat.ctimeSeconds, end + CTIME_SECONDS);
      block.writeUInt32LE(stat.ctimeNanoseconds, end + CTIME_NANOSECONDS);
      block.writeUInt32LE(stat.inodeHigh, end + INODE_HIGH);
      block.writeUInt32LE(stat.inodeLow, end + INODE_LOW);
      block.writeUInt32LE(encoded.length, end + ENTRY_LENGTH);
      block.set(encoded, end + ENTRY);
      block.set(listedIds, end + ENTRY + encoded.length);
      block.latin1Write(digest, end + ENTRY + encoded.length + listedIds.length);
      end += length;
    },
    addFolderEnd(depth, treeIds) {
      const length = ENTRY + treeIds.length * ID_BYTES;
      reserve(length);
      block.fill(0, end, end + ENTRY);
      block.writeUInt32LE(length - 4, end);
      block.writeUInt16LE(depth, end + DEPTH);
      block[end + TYPE] = FOLDER_END;
      treeIds.forEach((id, number) => block.set(id, end + ENTRY + number * ID_BYTES));
      end += length;
    },
    append(record) {
      reserve(record.length);
      block.set(record, end);
      end += record.length;
    },
    commit() {
      writeBlock();
      close();
      renameSync(temporary, path);
    },
    discard() {
      close();
      rmSync(temporary, { force: true });
    },
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
    await mkdir(dirname(marker), { recursive: true, mode: 0o700 });
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
