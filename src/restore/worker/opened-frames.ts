import { createKeyedHash } from "../../crypto/keyed-hash.ts";
import { DamagedError } from "../../errors.ts";
import { type FrameBlobs, openFrameInPlace, parseFrameBlobs } from "../../format/frame.ts";
import type { BlobId } from "../../format/tree.ts";
import type { NativeMemory } from "../../platform/libc.ts";
import { createFrameMemory } from "./frame-memory.ts";
import type { PostedFrames, SealedFrame, StoredFrame } from "./messages.ts";
import { readStored } from "./stored-frame.ts";

/** Opens frames and takes blobs out of them; frames are held a while, as files beside each other share them. */
export interface OpenedFrames {
  /** A blob's bytes, verified: a view that must not be kept. Throws `DamagedError`. */
  blob(posted: PostedFrames, frame: number, place: number, id: BlobId): Buffer;
  /** Whether these bytes are the blob of that id. */
  isBlob(bytes: Uint8Array, id: BlobId): boolean;
  /** Blobs given so far are done with: their memory may be used for others. */
  release(): void;
}

interface OpenedFrame {
  readonly raw: Buffer;
  readonly blobs: FrameBlobs;
  readonly memory: NativeMemory;
}

const HELD_BYTES = 4 * 1024 * 1024;

export function createOpenedFrames(repositoryId: Uint8Array, dataKey: Uint8Array): OpenedFrames {
  const hash = createKeyedHash(dataKey);
  const frameMemory = createFrameMemory();
  const held = new Map<string, OpenedFrame>();
  let heldBytes = 0;
  let dropped: NativeMemory[] = [];

  function openSealed(frame: SealedFrame | StoredFrame, chunks: PostedFrames["chunks"]): OpenedFrame {
    const known = held.get(frame.name);
    if (known !== undefined) {
      held.delete(frame.name);
      held.set(frame.name, known);
      return known;
    }
    const opened = openRecord(frame, chunks);
    held.set(frame.name, opened);
    heldBytes += opened.raw.length;
    for (const [oldest, { raw, memory }] of held) {
      if (heldBytes <= HELD_BYTES || oldest === frame.name) break;
      held.delete(oldest);
      heldBytes -= raw.length;
      dropped.push(memory);
    }
    return opened;
  }

  function openRecord(frame: SealedFrame | StoredFrame, chunks: PostedFrames["chunks"]): OpenedFrame {
    const taken = [frameMemory.take(frame.length)];
    const take = (sizeBytes: number): NativeMemory => {
      const memory = frameMemory.take(sizeBytes);
      taken.push(memory);
      return memory;
    };
    let kept: NativeMemory | undefined;
    try {
      readRecord(frame, chunks, taken[0].bytes.subarray(0, frame.length));
      const { kind, raw, memory } = openFrameInPlace(taken[0], frame.length, frame.key, repositoryId, take);
      if (kind !== "data") throw new DamagedError("where a frame of data should be lies one of trees");
      const blobs = parseFrameBlobs(raw);
      kept = memory;
      return { raw, blobs, memory };
    } finally {
      for (const memory of taken) if (memory !== kept) frameMemory.giveBack(memory);
    }
  }

  function isBlob(bytes: Uint8Array, id: BlobId): boolean {
    return hash.hash(bytes).equals(id);
  }

  return {
    isBlob,
    release() {
      for (const memory of dropped) frameMemory.giveBack(memory);
      dropped = [];
    },
    blob(posted, frameNumber, place, id) {
      const frame = posted.frames[frameNumber];
      if (frame.kind === "unreadable") throw new DamagedError(frame.message);
      let bytes: Buffer | undefined;
      if (frame.kind === "plain") {
        const chunk = posted.chunks[frame.chunk];
        bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      } else {
        const { raw, blobs } = openSealed(frame, posted.chunks);
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

function readRecord(frame: SealedFrame | StoredFrame, chunks: PostedFrames["chunks"], target: Buffer): void {
  if (frame.kind === "stored") readStored(frame.file, frame.offset, target);
  else target.set(chunks[frame.chunk].subarray(frame.offset, frame.offset + frame.length));
}
