import type { FrameWriterKeys, SealedFrame } from "../repository/frame-writer.ts";
import type { SessionBlobs } from "../repository/session-blobs.ts";
import type { SnapshotSealedPart } from "../format/snapshot.ts";

/**
 * PORT: where a backup goes. A repository at hand and a server at the other end of a wire are both this, so the engine
 * does not know which one it feeds. A good implementation to read first: `local-destination.ts`.
 *
 * Order binds: frames, then one `commit` or `abandon`, then `close`. Nothing is a snapshot before `commit` resolves;
 * whatever was stored until then is found again by the next run.
 */
export interface Destination {
  readonly keys: DestinationKeys;
  /** Blobs that need not be stored again. Shared with the workers. */
  readonly blobs: SessionBlobs;
  /**
   * Notes that the snapshot needs the blob whose id stands in `ids` from `at` on (0, if that is not said); false where it
   * is nowhere, so that its content must be read (again).
   */
  need(ids: Uint8Array, at?: number): boolean;
  /** A number for what holds a blob that need not be stored again; -1 where that is not known. */
  frameOf(ids: Uint8Array, at: number): number;
  /** As `need`, for all blobs that lie together. */
  needFrame(frame: number): void;
  /** Takes a frame that a worker has sealed. */
  store(frame: SealedFrame): void;
  /** Resolves when more frames may be made; rejects when storing has failed. */
  ready(): Promise<void>;
  /** Bytes stored so far. */
  readonly progress: { readonly givenBytes: number; readonly durableBytes: number };
  /** Makes everything durable, and then the snapshot; resolves with its id. */
  commit(snapshot: SnapshotToCommit): Promise<CommittedSnapshot>;
  /** Leaves without a snapshot. What is durable stays, for the next run. */
  abandon(): Promise<void>;
  /** In the end, once no worker looks at the blobs any more. */
  close(): void;
}

export interface DestinationKeys extends FrameWriterKeys {
  readonly dataKey: Uint8Array;
  readonly treeKey: Uint8Array;
  readonly chunkKey: Uint8Array;
  readonly linkKey: Uint8Array;
}

export interface SnapshotToCommit {
  readonly host: string;
  readonly group: Buffer;
  readonly parent: string | undefined;
  readonly counts: { readonly files: number; readonly directories: number; readonly others: number };
  readonly sizeBytes: number;
  readonly addedBytes: number;
  readonly storedBytes: number;
  /** False where something could not be read. */
  readonly complete: boolean;
  readonly sealed: SnapshotSealedPart;
}

export interface CommittedSnapshot {
  readonly id: string;
  readonly timeMs: number;
}
