import { closeSync, fstatSync, openSync, readSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { checksum16 } from "../crypto/keyed-hash.ts";
import type { FileStat } from "../platform/file-stat.ts";
import { makeFolder } from "../platform/make-folder.ts";

/**
 * How much an entry's record tells the next run: all; nothing, as it was changed in the moment when it was read; or only
 * about its content, as the record was made from a snapshot, which knows neither inode nor ctime.
 */
export type Trust = "all" | "nothing" | "content";

/**
 * The records of a walk log in their file. What they say is believed, so they must be whole.
 *
 * File: `"HFWL" u8 version`, then blocks: u32 length before and u32 after compression (zstd), [16] checksum (first 16
 * bytes of BLAKE3) of what follows: the block's records, compressed.
 * Record: u32 length of all that follows; u16 depth; u8 type; u8 trust (see `Trust`); f64 size, f64 mtime seconds, u32 mtime
 * nanoseconds, f64 ctime seconds, u32 ctime nanoseconds, u32 inode high, u32 inode low; u32 length of the encoded entry,
 * and the entry; then, for a file with content lists, the 32-byte ids of all its blobs, and for a directory whose source
 * tells it, its digest.
 *
 * A directory with a digest that was saved with all that was below it has a second record behind that, of type 8: zeros,
 * and the 32-byte ids of its tree and of the parts that this was split into. (Version 3 had no such records and no digests.)
 */
const MAGIC = Buffer.from([0x48, 0x46, 0x57, 0x4c, 4]);
const OLDEST_VERSION = 3;
const BLOCK_HEAD_BYTES = 8 + 16;
const BLOCK_BYTES = 512 * 1024;
const MAXIMUM_BLOCK_BYTES = 2 ** 31 - 1;

/** Deeper entries are not logged, and so read afresh each time. */
export const MAXIMUM_DEPTH = 0xffff;

export const DEPTH = 4;
export const TYPE = 6;
export const TRUST = 7;
export const SIZE = 8;
export const MTIME_SECONDS = 16;
export const MTIME_NANOSECONDS = 24;
export const CTIME_SECONDS = 28;
export const CTIME_NANOSECONDS = 36;
export const INODE_HIGH = 40;
export const INODE_LOW = 44;
export const ENTRY_LENGTH = 48;
export const ENTRY = 52;

export const ID_BYTES = 32;
export const NO_IDS = Buffer.alloc(0);

export const TRUSTS: Record<Trust, number> = { all: 0, nothing: 1, content: 2 };

export const TYPES: Record<FileStat["type"], number> = {
  file: 1,
  directory: 2,
  symlink: 3,
  fifo: 4,
  socket: 5,
  char: 6,
  block: 7,
};
/** What stands behind all that is below a directory. */
export const FOLDER_END = 8;

export interface Records {
  readonly fd: number;
  /** The block that holds the current record. */
  readonly block: Buffer;
  /** Goes on to the next record and gives its offset in `block`, or -1 at the end or where the log is damaged. */
  next(): number;
  /** The place of the current record, or of the one behind it. */
  mark(): RecordMark;
  markBehind(): RecordMark;
  /** Goes to a place; the result is as of `next`. */
  returnTo(mark: RecordMark): number;
  close(): void;
}

export interface RecordMark {
  readonly blockStart: number;
  readonly at: number;
}

export function openRecords(path: string): Records | undefined {
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
    markBehind: () => ({ blockStart, at: nextAt }),
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

export interface LogFile {
  add(record: WalkRecord): void;
  addFolderEnd(depth: number, treeIds: readonly Uint8Array[]): void;
  /** A whole record, as it stands in another log. */
  append(record: Uint8Array): void;
  commit(): void;
  discard(): void;
}

export function createLogFile(path: string): LogFile {
  makeFolder(dirname(path));
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
