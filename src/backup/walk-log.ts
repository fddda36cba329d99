import { closeSync, mkdirSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
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
 * File: `"HFWL" u8 version`, then blocks: u32 length before and u32 after compression (zstd), then the block's records.
 * Record: u32 length of all that follows; u16 depth; u8 type; u8 1 where it is not trusted; f64 size, f64 mtime seconds, u32 mtime
 * nanoseconds, f64 ctime seconds, u32 ctime nanoseconds, u32 inode high, u32 inode low; then the encoded entry.
 */
export interface KnownEntry {
  /** The entry as encoded for its tree; the memory is not written to again. */
  readonly encoded: Buffer;
  /** Nothing at all has changed since: not the content, not the attributes. */
  readonly unchanged: boolean;
}

/** What an earlier run or snapshot knows, given entry by entry in walk order. */
export interface KnownEntries {
  /** What is known of the entry; undefined where it is new. Entries must come in walk order, each once. */
  match(entry: SourceEntry): KnownEntry | undefined;
  close(): void;
}

const MAGIC = Buffer.from([0x48, 0x46, 0x57, 0x4c, 1]);
const BLOCK_BYTES = 512 * 1024;
const MAXIMUM_BLOCK_BYTES = 32 * 1024 * 1024;

/** Deeper entries are not logged, and so read afresh each time. */
const MAXIMUM_DEPTH = 0xffff;

const DEPTH = 4;
const TYPE = 6;
const UNTRUSTED = 7;
const SIZE = 8;
const MTIME_SECONDS = 16;
const MTIME_NANOSECONDS = 24;
const CTIME_SECONDS = 28;
const CTIME_NANOSECONDS = 36;
const INODE_HIGH = 40;
const INODE_LOW = 44;
const ENTRY = 48;

const TYPES: Record<FileStat["type"], number> = {
  file: 1,
  directory: 2,
  symlink: 3,
  fifo: 4,
  socket: 5,
  char: 6,
  block: 7,
};

/** Reads a log; undefined where there is none, or none that can be used. */
export function openWalkLog(path: string): KnownEntries | undefined {
  const records = openRecords(path);
  if (records === undefined) return undefined;
  /** matched[d]: the directory at depth d of the current path stands in the log, and the log is inside it. */
  const matched: boolean[] = [];
  let at = records.next();

  return {
    match(entry) {
      const depth = entry.depth;
      matched.length = Math.min(matched.length, depth);
      if (depth > 0 && matched[depth - 1] !== true) return undefined;
      for (;;) {
        if (at < 0) return undefined;
        const block = records.block;
        const recordDepth = block.readUInt16LE(at + DEPTH);
        if (recordDepth < depth) return undefined;
        if (recordDepth === depth) {
          const encoded = block.subarray(at + ENTRY, at + 4 + block.readUInt32LE(at));
          const name = entryName(encoded);
          if (name > entry.name) return undefined;
          if (name === entry.name) {
            const unchanged = isUnchanged(block, at, entry.stat);
            matched[depth] = entry.stat.type === "directory" && block[at + TYPE] === TYPES.directory;
            at = records.next();
            return { encoded, unchanged };
          }
        }
        at = records.next();
      }
    },
    close: records.close,
  };
}

function isUnchanged(block: Buffer, at: number, stat: FileStat): boolean {
  return (
    block[at + UNTRUSTED] === 0 &&
    block[at + TYPE] === TYPES[stat.type] &&
    block.readUInt32LE(at + CTIME_NANOSECONDS) === stat.ctimeNanoseconds &&
    block.readDoubleLE(at + CTIME_SECONDS) === stat.ctimeSeconds &&
    block.readUInt32LE(at + INODE_LOW) === stat.inodeLow &&
    block.readUInt32LE(at + INODE_HIGH) === stat.inodeHigh &&
    block.readUInt32LE(at + MTIME_NANOSECONDS) === stat.mtimeNanoseconds &&
    block.readDoubleLE(at + MTIME_SECONDS) === stat.mtimeSeconds &&
    (block.readDoubleLE(at + SIZE) === stat.sizeBytes || stat.type === "directory")
  );
}

interface Records {
  /** The block that holds the current record. */
  readonly block: Buffer;
  /** Goes on to the next record and gives its offset in `block`, or -1 at the end or where the log is damaged. */
  next(): number;
  close(): void;
}

function openRecords(path: string): Records | undefined {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return undefined;
  }
  const head = Buffer.alloc(8);
  let open = readSync(fd, head, 0, MAGIC.length, null) === MAGIC.length && head.subarray(0, MAGIC.length).equals(MAGIC);
  let block: Buffer = Buffer.alloc(0);
  let at = 0;
  let nextAt = 0;

  /** A damaged block ends the log: the rest is then read afresh. */
  function readBlock(): boolean {
    if (!open || readSync(fd, head, 0, 8, null) < 8) return false;
    const rawLength = head.readUInt32LE(0);
    const length = head.readUInt32LE(4);
    if (rawLength > MAXIMUM_BLOCK_BYTES || length > MAXIMUM_BLOCK_BYTES) return false;
    const compressed = Buffer.allocUnsafe(length);
    if (readSync(fd, compressed, 0, length, null) < length) return false;
    try {
      block = zstdDecompressSync(compressed, { maxOutputLength: rawLength, chunkSize: Math.max(rawLength, 64) });
    } catch {
      return false;
    }
    return block.length === rawLength;
  }

  return {
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
      if (at + ENTRY > block.length) return (nextAt = Infinity), -1;
      nextAt = at + 4 + block.readUInt32LE(at);
      return nextAt > block.length || nextAt < at + ENTRY ? ((open = false), (nextAt = Infinity), -1) : at;
    },
    close: () => closeSync(fd),
  };
}

/** Writes a log beside the one that is there, and puts it in its place at the end. */
export interface WalkLogWriter {
  /** `trusted`: whether what `stat` says will tell the next run that nothing has changed. */
  add(entry: SourceEntry, stat: FileStat, encoded: Uint8Array, trusted: boolean): void;
  commit(): void;
  discard(): void;
}

export function createWalkLog(path: string): WalkLogWriter {
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
    const head = Buffer.allocUnsafe(8);
    head.writeUInt32LE(end, 0);
    head.writeUInt32LE(compressed.length, 4);
    writeSync(fd, head);
    writeSync(fd, compressed);
    end = 0;
  }

  return {
    add(entry, stat, encoded, trusted) {
      if (entry.depth > MAXIMUM_DEPTH) return;
      const length = ENTRY + encoded.length;
      if (end + length > block.length) {
        writeBlock();
        if (length > block.length) block = Buffer.allocUnsafe(length + BLOCK_BYTES);
      }
      block.writeUInt32LE(length - 4, end);
      block.writeUInt16LE(entry.depth, end + DEPTH);
      block[end + TYPE] = TYPES[stat.type];
      block[end + UNTRUSTED] = trusted ? 0 : 1;
      block.writeDoubleLE(stat.sizeBytes, end + SIZE);
      block.writeDoubleLE(stat.mtimeSeconds, end + MTIME_SECONDS);
      block.writeUInt32LE(stat.mtimeNanoseconds, end + MTIME_NANOSECONDS);
      block.writeDoubleLE(stat.ctimeSeconds, end + CTIME_SECONDS);
      block.writeUInt32LE(stat.ctimeNanoseconds, end + CTIME_NANOSECONDS);
      block.writeUInt32LE(stat.inodeHigh, end + INODE_HIGH);
      block.writeUInt32LE(stat.inodeLow, end + INODE_LOW);
      block.set(encoded, end + ENTRY);
      end += length;
      if (end >= BLOCK_BYTES) writeBlock();
    },
    commit() {
      writeBlock();
      closeSync(fd);
      renameSync(temporary, path);
    },
    discard() {
      closeSync(fd);
      rmSync(temporary, { force: true });
    },
  };
}

/** Where the log of a repository, host and set of paths lies. */
export function walkLogPath(cacheDirectory: string, repositoryId: string, group: string): string {
  return `${cacheDirectory}/${repositoryId}/walk/${group}`;
}
