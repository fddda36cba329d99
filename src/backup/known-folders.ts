import { type ContentKind, contentIds } from "../format/tree.ts";
import {
  DEPTH,
  ENTRY,
  ENTRY_LENGTH,
  FOLDER_END,
  ID_BYTES,
  type RecordMark,
  type Records,
  SIZE,
  TYPE,
  TYPES,
} from "./walk-log-file.ts";

/** What lies below a directory. */
export interface FolderCounts {
  readonly files: number;
  readonly directories: number;
  readonly others: number;
  /** Logical size of the files. */
  readonly bytes: number;
}

/** What a log holds of a directory that was saved whole. */
export interface FolderContent extends FolderCounts {
  readonly treeId: Buffer;
}

/** Notes that a blob is needed, whose id stands in `ids` at `at`; false where it is nowhere. See `Destination`. */
export type Need = (ids: Uint8Array, at: number) => boolean;

/** Needs the content of the encoded entry that begins at `start`, but no tree; false once something is not there. */
export function needContent(bytes: Buffer, start: number, need: Need): boolean {
  let all = true;
  const take = (idOffset: number, _length: number, kind: ContentKind): void => {
    if (kind !== "tree" && all) all = need(bytes, idOffset);
  };
  contentIds(bytes, take, start);
  return all;
}

/** The same of ids that lie one after another. */
export function needIds(bytes: Buffer, start: number, end: number, need: Need): boolean {
  for (let at = start; at + ID_BYTES <= end; at += ID_BYTES) if (!need(bytes, at)) return false;
  return true;
}

/** The frame that holds such a blob, or -1. */
export type FrameOf = (ids: Uint8Array, at: number) => number;

/**
 * Goes through the records below a directory of this depth, from the current one on up to the one that says that all of it
 * was saved, which is the current one then. Undefined where there is none, or where a blob is not there.
 */
export function readFolder(
  records: Records,
  first: number,
  depth: number,
  need: Need,
): (FolderContent & { readonly recordCount: number }) | undefined {
  const tally = createTally();
  let recordCount = 0;
  for (let at = first; at >= 0; at = records.next()) {
    const { block } = records;
    recordCount++;
    const recordDepth = block.readUInt16LE(at + DEPTH);
    const isEnd = block[at + TYPE] === FOLDER_END;
    if (recordDepth < depth || (recordDepth === depth && !isEnd)) return undefined;
    if (!tally.add(block, at, need)) return undefined;
    if (recordDepth === depth) return { ...tally.counts(), treeId: treeIdAt(block, at), recordCount };
  }
  return undefined;
}

/** A directory that was saved whole, and of which all blobs are there. */
export interface ScannedFolder extends FolderContent {
  /** Numbers of the frames that hold its blobs, some of them more than once. */
  readonly frames: Int32Array;
  /** Where the record behind it lies, and its position. */
  readonly next: RecordMark;
  readonly to: number;
}

/**
 * Goes through a whole log while something else is waited for, and notes where blobs are: to take a folder over then costs
 * next to nothing.
 */
export interface FolderScan {
  /** Goes through some records with each step. To be left at any time: then less is known. */
  steps(records: Records, frameOf: FrameOf): Generator<void, void, undefined>;
  /** By the position of the directory's own record. */
  find(position: number): ScannedFolder | undefined;
}

/** Records that are gone through in one step. */
const STEP_RECORDS = 1000;

interface NotedFolder extends Omit<ScannedFolder, "frames"> {
  readonly firstFrame: number;
  readonly endFrame: number;
}

interface OpenFolder {
  readonly depth: number;
  readonly position: number;
  readonly before: FolderCounts;
  readonly firstFrame: number;
  readonly missing: number;
}

export function createFolderScan(): FolderScan {
  const folders = new Map<number, NotedFolder>();
  const frames = createFrameList();

  function* steps(records: Records, frameOf: FrameOf): Generator<void, void, undefined> {
    const tally = createTally();
    const open: OpenFolder[] = [];
    let missing = 0;
    const look = (ids: Uint8Array, at: number): boolean => {
      const frame = frameOf(ids, at);
      if (frame < 0) missing++;
      else frames.add(frame);
      return true;
    };
    let position = 0;
    for (let at = records.next(); at >= 0; at = records.next(), position++) {
      const { block } = records;
      const depth = block.readUInt16LE(at + DEPTH);
      const isEnd = block[at + TYPE] === FOLDER_END;
      // Those of which not all was saved have no end.
      while (open.length > 0 && open[open.length - 1].depth >= (isEnd ? depth + 1 : depth)) open.pop();
      if (!tally.add(block, at, look)) return;
      if (block[at + TYPE] === TYPES.directory) {
        open.push({ depth, position, before: tally.counts(), firstFrame: frames.start(), missing });
      } else if (isEnd) {
        const folder = open.pop();
        if (folder?.depth !== depth) return;
        if (folder.missing === missing) {
          folders.set(folder.position, {
            ...countsSince(folder.before, tally.counts()),
            treeId: treeIdAt(block, at),
            firstFrame: folder.firstFrame,
            endFrame: frames.length(),
            next: records.markBehind(),
            to: position + 1,
          });
        }
      }
      if (position % STEP_RECORDS === 0) yield;
    }
  }

  return {
    steps,
    find(position) {
      const folder = folders.get(position);
      return folder && { ...folder, frames: frames.between(folder.firstFrame, folder.endFrame) };
    },
  };
}

function countsSince(before: FolderCounts, now: FolderCounts): FolderCounts {
  return {
    files: now.files - before.files,
    directories: now.directories - before.directories,
    others: now.others - before.others,
    bytes: now.bytes - before.bytes,
  };
}

/** A copy, so that the block it lies in may go. */
function treeIdAt(block: Buffer, at: number): Buffer {
  return Buffer.from(block.subarray(at + ENTRY, at + ENTRY + ID_BYTES));
}

interface Tally {
  /** Counts what a record is of, and asks for its blobs. False where one is not there, or the record makes no sense. */
  add(block: Buffer, at: number, need: Need): boolean;
  counts(): FolderCounts;
}

function createTally(): Tally {
  let files = 0;
  let directories = 0;
  let others = 0;
  let bytes = 0;

  return {
    add(block, at, need) {
      const type = block[at + TYPE];
      const entryEnd = at + ENTRY + block.readUInt32LE(at + ENTRY_LENGTH);
      const end = at + 4 + block.readUInt32LE(at);
      if (type === FOLDER_END) return end - entryEnd >= ID_BYTES && needIds(block, entryEnd, end, need);
      if (type === TYPES.directory) {
        directories++;
        return true;
      }
      if (type !== TYPES.file) {
        others++;
        return true;
      }
      files++;
      bytes += block.readDoubleLE(at + SIZE);
      return needContent(block, at + ENTRY, need) && needIds(block, entryEnd, end, need);
    },
    counts: () => ({ files, directories, others, bytes }),
  };
}

interface FrameList {
  length(): number;
  /** Where a range begins: what is added from now on is in it, whatever stands before. */
  start(): number;
  add(frame: number): void;
  between(start: number, end: number): Int32Array;
}

function createFrameList(): FrameList {
  let numbers = new Int32Array(1024);
  let length = 0;
  let lastStart = 0;
  return {
    length: () => length,
    start: () => (lastStart = length),
    add(frame) {
      // Blobs that lie side by side are mostly in one frame. But each range must have its own first.
      if (length > lastStart && numbers[length - 1] === frame) return;
      if (length === numbers.length) {
        const more = new Int32Array(length * 2);
        more.set(numbers);
        numbers = more;
      }
      numbers[length++] = frame;
    },
    between: (start, end) => numbers.subarray(start, end),
  };
}
