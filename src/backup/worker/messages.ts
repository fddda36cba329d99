import type { Compression, SealedFrame } from "../../repository/frame-writer.ts";
import type { SessionBlobs } from "../../repository/session-blobs.ts";
import type { ExtendedAttribute, Hole } from "../../format/tree.ts";
import type { FileStat } from "../../platform/file-stat.ts";
import type { RawPath } from "../../platform/raw-path.ts";

/** What a worker is started with. All of it can be posted. */
export interface WorkerSetup {
  readonly repositoryId: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly indexKey: Uint8Array;
  /** Key of data blobs' ids. */
  readonly dataKey: Uint8Array;
  readonly chunkKey: Uint8Array;
  readonly blobs: SessionBlobs;
  readonly compression: Compression;
  /** How many frames of all workers the main thread has not passed on yet: one shared number. */
  readonly framesUnderWay: Int32Array<SharedArrayBuffer>;
}

/** A worker that has one more waits until there are fewer: where storage is slow, what was read must not pile up. */
export const FRAMES_UNDER_WAY = 8;

/** From the main thread to a worker. Every task but `stream-piece` is answered by one `TaskDone` of its number. */
export type WorkerTask =
  FilesTask | ContentsTask | SegmentTask | StreamOpenTask | StreamPieceTask | StreamEndTask | FlushTask;

/** Read these files whole. In columns, because copying an object for each file to another thread takes too long. */
export interface FilesTask {
  readonly task: "files";
  readonly number: number;
  readonly rootFds: Int32Array;
  /** Joined by NUL. */
  readonly paths: string;
  /** `STAT_NUMBERS` numbers a file. */
  readonly stats: Float64Array;
}

/** What the walk found: what was read is only trusted if it is still so afterwards. */
export type ExpectedStat = Pick<
  FileStat,
  "sizeBytes" | "allocatedBytes" | "mtimeSeconds" | "mtimeNanoseconds" | "ctimeSeconds" | "ctimeNanoseconds"
>;

export interface FileToRead {
  readonly rootFd: number;
  readonly path: RawPath;
  readonly stat: ExpectedStat;
}

const STAT_NUMBERS = 6;

export function packFiles(files: readonly FileToRead[]): Omit<FilesTask, "task" | "number"> {
  const stats = new Float64Array(files.length * STAT_NUMBERS);
  files.forEach(({ stat }, index) => {
    const at = index * STAT_NUMBERS;
    stats[at] = stat.sizeBytes;
    stats[at + 1] = stat.allocatedBytes;
    stats[at + 2] = stat.mtimeSeconds;
    stats[at + 3] = stat.mtimeNanoseconds;
    stats[at + 4] = stat.ctimeSeconds;
    stats[at + 5] = stat.ctimeNanoseconds;
  });
  return {
    rootFds: Int32Array.from(files, ({ rootFd }) => rootFd),
    paths: files.map(({ path }) => path).join("\0"),
    stats,
  };
}

export function unpackFiles({ rootFds, paths, stats }: FilesTask): FileToRead[] {
  return paths.split("\0").map((path, index) => {
    const at = index * STAT_NUMBERS;
    return {
      rootFd: rootFds[index],
      path: path as RawPath,
      stat: {
        sizeBytes: stats[at],
        allocatedBytes: stats[at + 1],
        mtimeSeconds: stats[at + 2],
        mtimeNanoseconds: stats[at + 3],
        ctimeSeconds: stats[at + 4],
        ctimeNanoseconds: stats[at + 5],
      },
    };
  });
}

/** Save these contents, each of at most `SMALL_FILE_BYTES`: they lie one after another, as views cost more to post. */
export interface ContentsTask {
  readonly task: "contents";
  readonly number: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly lengths: Uint32Array;
}

/** Read these ranges of one large file, as one piece of content that is cut at its end. */
export interface SegmentTask {
  readonly task: "segment";
  readonly number: number;
  /** The main thread's: descriptors are good in all threads, and so all read the same file, whatever its name is by now. */
  readonly fd: number;
  readonly ranges: readonly { readonly offset: number; readonly lengthBytes: number }[];
}

/** Content that comes through the main thread. One stream at a time for each worker. */
export interface StreamOpenTask {
  readonly task: "stream-open";
  readonly number: number;
}

export interface StreamPieceTask {
  readonly task: "stream-piece";
  readonly number: number;
  readonly bytes: Uint8Array;
}

export interface StreamEndTask {
  readonly task: "stream-end";
  readonly number: number;
}

/** Seal the frame that is being filled, if any. */
export interface FlushTask {
  readonly task: "flush";
  readonly number: number;
}

/** From a worker to the main thread. */
export type WorkerReply =
  | { readonly reply: "frame"; readonly frame: SealedFrame }
  | { readonly reply: "piece-taken"; readonly bytes: number }
  | TaskDone;

export interface TaskDone {
  readonly reply: "done";
  readonly number: number;
  readonly results: PackedResults;
  /** The memory of a `ContentsTask`, to be filled again. */
  readonly emptied?: Uint8Array<ArrayBuffer>;
}

/**
 * Results of a task, one for each file (one for a segment or a stream; none for a flush), in columns for the same reason:
 * nearly all files are one blob or none, without anything else to tell.
 */
export interface PackedResults {
  readonly count: number;
  /** Whether they are of streams, whose attributes only their source knows. */
  readonly streamed: boolean;
  /** 32 bytes for each file that is one blob. */
  readonly ids: Uint8Array;
  /** For each file: its length, with 0.5 added where its blob was new; negative where it stands in `others`. */
  readonly lengths: Float64Array;
  readonly others: readonly FileResult[];
}

export function packResults(results: readonly FileResult[]): PackedResults {
  const ids = new Uint8Array(results.length * 32);
  const lengths = new Float64Array(results.length);
  const others: FileResult[] = [];
  const streamed =
    results.length > 0 && results.every((result) => !("failure" in result) && result.xattrs === undefined);
  results.forEach((result, index) => {
    if (isPlain(result, streamed)) {
      ids.set(result.ids, index * 32);
      lengths[index] = result.lengths.length === 0 ? 0 : result.lengths[0] + result.newBlobs * 0.5;
    } else {
      lengths[index] = -1;
      others.push(result);
    }
  });
  return { count: results.length, streamed, ids, lengths, others };
}

function isPlain(result: FileResult, streamed: boolean): result is FileSaved {
  return (
    !("failure" in result) &&
    result.lengths.length <= 1 &&
    result.holes.length === 0 &&
    (streamed || result.xattrs?.length === 0) &&
    result.stat === undefined &&
    !result.changedWhileRead
  );
}

const NO_IDS = new Uint8Array(0);
const NOTHING: readonly never[] = [];

export function unpackResults({ count, streamed, ids, lengths, others }: PackedResults): FileResult[] {
  const results: FileResult[] = [];
  let other = 0;
  for (let index = 0; index < count; index++) {
    const value = lengths[index];
    if (value < 0) {
      results.push(others[other++]);
      continue;
    }
    const length = Math.floor(value);
    const isNew = value > length;
    results.push({
      ids: length === 0 ? NO_IDS : ids.subarray(index * 32, index * 32 + 32),
      lengths: length === 0 ? NOTHING : [length],
      holes: NOTHING,
      xattrs: streamed ? undefined : NOTHING,
      stat: undefined,
      changedWhileRead: false,
      newBytes: isNew ? length : 0,
      newBlobs: isNew ? 1 : 0,
    });
  }
  return results;
}

export type FileResult = FileSaved | FileFailed;

export interface FileSaved {
  /** 32 bytes a blob, in order. */
  readonly ids: Uint8Array;
  readonly lengths: readonly number[];
  readonly holes: readonly Hole[];
  /** Undefined for streams: their source knows them. */
  readonly xattrs: readonly ExtendedAttribute[] | undefined;
  /** Set where the file is not as the walk found it: what to save instead. */
  readonly stat: FileStat | undefined;
  /** It was still being changed when it was read for the last time. */
  readonly changedWhileRead: boolean;
  /** Bytes that this worker was the first to store. */
  readonly newBytes: number;
  readonly newBlobs: number;
}

export interface FileFailed {
  readonly failure: { readonly during: string; readonly message: string; readonly code: string | undefined };
}
