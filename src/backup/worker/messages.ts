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
}

/** From the main thread to a worker. Every task but `stream-piece` is answered by one `TaskDone` of its number. */
export type WorkerTask = FilesTask | SegmentTask | StreamOpenTask | StreamPieceTask | StreamEndTask | FlushTask;

/** Read these files whole. */
export interface FilesTask {
  readonly task: "files";
  readonly number: number;
  readonly files: readonly FileToRead[];
}

export interface FileToRead {
  readonly rootFd: number;
  readonly path: RawPath;
  /** As the walk found it: what was read is only trusted if it is still so afterwards. */
  readonly stat: FileStat;
}

/** Read these ranges of one large file, as one piece of content that is cut at its end. */
export interface SegmentTask {
  readonly task: "segment";
  readonly number: number;
  readonly file: FileToRead;
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
  /** One for each file (one for a segment or a stream; none for a flush). */
  readonly results: readonly FileResult[];
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
