import type { KeyObject } from "node:crypto";
import type { OwnerPolicy, Shortfall } from "../attributes.ts";
import type { Overwrite } from "../existing.ts";
import type { RawPath } from "../../platform/raw-path.ts";

/** What a worker is started with. All of it can be posted. */
export interface WorkerSetup {
  readonly repositoryId: Uint8Array;
  /** Key of data blobs' ids. */
  readonly dataKey: Uint8Array;
  readonly overwrite: Overwrite;
  readonly policy: OwnerPolicy;
  /** Long runs of zeros become holes. */
  readonly sparse: boolean;
  readonly dryRun: boolean;
  /** A folder that is in the way of a file may be removed with all that is in it. */
  readonly removeFolders: boolean;
  /** Becomes 1 when the restore is to stop: then no further file is begun. */
  readonly stop: Int32Array<SharedArrayBuffer>;
}

/** From the main thread to a worker. Each is answered by one `TaskDone` of its number. */
export type WorkerTask = FilesTask | RangesTask | VerifyTask;

/** Restore these files whole. */
export interface FilesTask {
  readonly task: "files";
  readonly number: number;
  /** Encoded tree entries, one after another. */
  readonly entries: Uint8Array;
  /** For each file: where its entry begins. */
  readonly offsets: Uint32Array;
  /** For each file: the descriptor of its folder, which the main thread holds open. */
  readonly folderFds: Int32Array;
  /** For each file: see `FILE_FLAGS`. */
  readonly flags: Uint8Array;
  /** For each file: which of `blobs` is its first. */
  readonly firstBlobs: Uint32Array;
  /** For each blob of each file, in order: which of `frames`, and its place in that. */
  readonly blobs: Uint32Array;
  readonly frames: PostedFrames;
  /** A new file of which only parts can be had is made of those. */
  readonly keepDamaged: boolean;
}

export const FILE_FLAGS = {
  /** The folder was there before: look whether the file is. */
  mayExist: 1,
  /** The folder has a default ACL, which new files inherit. */
  inheritsAcl: 2,
  /** Other names will be linked to it: it must not become immutable yet. */
  leaveWritable: 4,
} as const;

/** Write, or compare, parts of one large file that the main thread has open. */
export interface RangesTask {
  readonly task: "ranges";
  readonly number: number;
  readonly fd: number;
  /** `write`: there is nothing yet. `update`: write what is not right already. `compare`: only look. */
  readonly mode: "write" | "update" | "compare";
  /** For each blob: its id. */
  readonly ids: Uint8Array;
  readonly lengths: Uint32Array;
  /** As in `FilesTask`. Not used to compare. */
  readonly blobs: Uint32Array;
  /** For each extent, ascending: which blob of this task, offset in the file, offset in the blob, length. */
  readonly extents: Float64Array;
  readonly frames: PostedFrames;
}

export const EXTENT_WORDS = 4;

/** Read restored files again and compare their content. */
export interface VerifyTask {
  readonly task: "verify";
  readonly number: number;
  readonly entries: Uint8Array;
  readonly offsets: Uint32Array;
  readonly rootFd: number;
  /** Of each file, below the root. */
  readonly paths: readonly RawPath[];
}

/** Frames as they lie in storage, or blobs that the main thread has read already. */
export interface PostedFrames {
  /** Memory that frames lie in. */
  readonly chunks: readonly Uint8Array[];
  readonly frames: readonly PostedFrame[];
}

export type PostedFrame = SealedFrame | StoredFrame | PlainBlob | UnreadableFrame;

export interface SealedFrame {
  readonly kind: "sealed";
  /** The frame's name: origin and number. */
  readonly name: string;
  readonly key: KeyObject;
  readonly chunk: number;
  readonly offset: number;
  readonly length: number;
}

/** One that lies in a file of this machine, from which the worker reads it. */
export interface StoredFrame {
  readonly kind: "stored";
  readonly name: string;
  readonly key: KeyObject;
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

export interface PlainBlob {
  readonly kind: "plain";
  readonly chunk: number;
}

export interface UnreadableFrame {
  readonly kind: "unreadable";
  readonly message: string;
}

/** From a worker to the main thread. */
export interface TaskDone {
  readonly number: number;
  /** For each file (one for ranges): what became of it. */
  readonly outcomes: Uint8Array;
  readonly failures: readonly Failure[];
  /** Sum over all files, of what was written. */
  readonly writtenBytes: number;
  readonly shortfalls: readonly { readonly kind: Shortfall; readonly file: number }[];
}

export const OUTCOME = {
  /** It was not there. */
  restored: 1,
  /** Its content, or what it was, was another. */
  replaced: 2,
  /** Only attributes were another. */
  touched: 3,
  /** It is as it should be. */
  unchanged: 4,
  /** It is not to be overwritten. */
  skipped: 5,
  failed: 6,
} as const;

export type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

export interface Failure {
  /** Which file of the task. */
  readonly file: number;
  readonly message: string;
  /** Errno's name, if it came from the system. */
  readonly code: string | undefined;
  /** What the repository gave is not right: another copy may be. */
  readonly damaged: boolean;
}
