import { DamagedError, errnoOf, HoldfastError, messageOf, ObjectMissingError } from "../errors.ts";
import type { ContentBlob } from "../format/tree.ts";
import type { FrameReader } from "../repository/frame-reader.ts";
import type { OnShortfall } from "./attributes.ts";
import type { Folder, Folders } from "./folders.ts";
import type { FrameFetcher } from "./frame-fetcher.ts";
import type { Pump } from "./pump.ts";
import type { WorkerPool } from "./worker-pool.ts";
import type { Failure, Outcome, WorkerSetup } from "./worker/messages.ts";

/** What restoring content needs, of files of every size. */
export interface ContentContext {
  readonly setup: WorkerSetup;
  readonly keepDamaged: boolean;
  readonly pool: WorkerPool;
  readonly pump: Pump;
  readonly folders: Folders;
  readonly fetcher: FrameFetcher;
  readonly secondTry: SecondTry;
  readonly isStopping: () => boolean;
  readonly onWritten: (bytes: number) => void;
}

export interface RestorableFile {
  readonly folder: Folder;
  /** As it stands in the tree. */
  readonly encoded: Uint8Array;
  readonly sizeBytes: number;
  /** Other names will be linked to it. */
  readonly leaveWritable: boolean;
  readonly onShortfall: OnShortfall;
  /** Called once. `failure` where the outcome is `failed`. */
  readonly done: (this: void, outcome: Outcome, failure?: FileFailure) => void;
}

export type FileFailure = Omit<Failure, "file">;

export function failureOfError(error: unknown): FileFailure {
  const code = error instanceof HoldfastError ? undefined : errnoOf(error);
  return { message: messageOf(error), code, damaged: error instanceof DamagedError };
}

/**
 * Reads blobs that could not be had with their neighbours: from another copy, or from where pruning has moved them. It
 * is slow, and so not tried again and again for what lies in a pack that is gone.
 */
export interface SecondTry {
  /** The bytes, verified, or why they cannot be had. */
  read(blob: ContentBlob): Promise<Uint8Array | { readonly message: string }>;
}

export function createSecondTry(reader: FrameReader): SecondTry {
  const lostPacks = new Map<string, string>();
  let unknownStayUnknown = false;

  /** Undefined where no index that is loaded knows the blob. */
  function packOf(blob: ContentBlob): string | undefined {
    try {
      return reader.frame(reader.locate(blob.id).frame).pack.name.latin1Slice();
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      return undefined;
    }
  }

  return {
    async read(blob) {
      const pack = packOf(blob);
      const lost = pack === undefined ? undefined : lostPacks.get(pack);
      if (lost !== undefined) return { message: lost };
      if (pack === undefined && unknownStayUnknown)
        return { message: "it is in no index, and in no pack that is there" };
      try {
        return await reader.readData(blob.id);
      } catch (error) {
        if (pack === undefined) unknownStayUnknown = true;
        else if (error instanceof ObjectMissingError) lostPacks.set(pack, error.message);
        return { message: messageOf(error) };
      }
    },
  };
}
