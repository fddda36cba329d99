import type { KeyObject } from "node:crypto";
import { createKeyedHash } from "../../crypto/keyed-hash.ts";
import { DamagedError } from "../../errors.ts";
import { openFrame, parseFrameBlobs, type FrameBlobs } from "../../format/frame.ts";
import type { BlobId } from "../../format/tree.ts";
import { freeMemory } from "../../platform/free-memory.ts";
import type { PostedFrames } from "./messages.ts";

/** Opens frames and takes blobs out of them; frames are held a while, as files beside each other share them. */
export interface OpenedFrames {
  /** A blob's bytes, verified: a view that must not be kept. Throws `DamagedError`. */
  blob(posted: PostedFrames, frame: number, place: number, id: BlobId): Buffer;
  /** Whether these bytes are the blob of that id. */
  isBlob(bytes: Uint8Array, id: BlobId): boolean;
  /** Blobs given so far are done with: gives back the memory of frames that are not held any more. */
  release(): void;
}

interface OpenedFrame {
  readonly raw: Buffer;
  readonly blobs: FrameBlobs;
}

const HELD_BYTES = 4 * 1024 * 1024;

export function createOpenedFrames(repositoryId: Uint8Array, dataKey: Uint8Array): OpenedFrames {
  const hash = createKeyedHash(dataKey);
  const held = new Map<string, OpenedFrame>();
  let heldBytes = 0;
  let dropped: Buffer[] = [];

  function openSealed(name: string, key: KeyObject, record: Uint8Array): OpenedFrame {
    const known = held.get(name);
    if (known !== undefined) {
      held.delete(name);
      held.set(name, known);
      return known;
    }
    const { raw, kind } = openFrame(record, key, repositoryId);
    if (kind !== "data") throw new DamagedError("where a frame of data should be lies one of trees");
    const opened = { raw, blobs: parseFrameBlobs(raw) };
    held.set(name, opened);
    heldBytes += raw.length;
    for (const [oldest, { raw: bytes }] of held) {
      if (heldBytes <= HELD_BYTES || oldest === name) break;
      held.delete(oldest);
      heldBytes -= bytes.length;
      dropped.push(bytes);
    }
    return opened;
  }

  function isBlob(bytes: Uint8Array, id: BlobId): boolean {
    return hash.hash(bytes).equals(id);
  }

  return {
    isBlob,
    release() {
      for (const bytes of dropped) freeMemory(bytes);
      dropped = [];
    },
    blob(posted, frameNumber, place, id) {
      const frame = posted.frames[frameNumber];
      if (frame.kind === "unreadable") throw new DamagedError(frame.message);
      const chunk = posted.chunks[frame.chunk];
      let bytes: Buffer | undefined;
      if (frame.kind === "plain") bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      else {
        const record = chunk.subarray(frame.offset, frame.offset + frame.length);
        const { raw, blobs } = openSealed(frame.name, frame.key, record);
        if (place < blobs.count)
          bytes = raw.subarray(blobs.offsets[place], blobs.offsets[place] + blobs.lengths[place]);
      }
      if (bytes === undefined || !isBlob(bytes, id)) {
        throw new DamagedError("the repository holds something else than the content that should be there");
      }
      return bytes;
    },
  };
}
