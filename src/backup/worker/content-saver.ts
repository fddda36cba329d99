import { readSync } from "node:fs";
import { createKeyedHash } from "../../crypto/keyed-hash.ts";
import type { BlobId } from "../../format/tree.ts";
import { createFrameWriter, type SealedFrame } from "../../repository/frame-writer.ts";
import { claimForStoring } from "../../repository/session-blobs.ts";
import { type Chunker, createChunker, MAXIMUM_CHUNK_BYTES, MINIMUM_CHUNK_BYTES } from "../chunker/chunker.ts";
import type { WorkerSetup } from "./messages.ts";

/** Content as it was stored: its blobs in order, and what of it was new. */
export interface SavedContent {
  readonly ids: Uint8Array;
  readonly lengths: readonly number[];
  readonly newBytes: number;
  readonly newBlobs: number;
}

/**
 * Cuts content into blobs, and lays those that the repository does not have into frames.
 *
 * Small files are read straight into the frame that may keep them; larger content passes through the chunker's buffer.
 */
export interface ContentSaver {
  /** Content of at most `MINIMUM_CHUNK_BYTES`, read by one call; undefined where the file has another size by now. */
  saveSmallFile(fd: number, sizeBytes: number): SavedContent | undefined;
  /** Content of at most `SMALL_FILE_BYTES` that is at hand. */
  saveBytes(bytes: Uint8Array): SavedContent;
  /** The ranges of an open file, one after another. A range that ends early ends the content. */
  saveRanges(
    fd: number,
    ranges: Iterable<{ offset: number; lengthBytes: number }>,
  ): SavedContent & { readBytes: number };
  /** Content that is pushed in pieces. Only one at a time. */
  openStream(): { push(bytes: Uint8Array): void; end(): SavedContent };
  flush(): void;
}

/** Content up to this size is one blob. */
export const SMALL_FILE_BYTES = MINIMUM_CHUNK_BYTES;

/** One chunk, and as much again as is read in one go. */
const BUFFER_BYTES = MAXIMUM_CHUNK_BYTES + 2 * 1024 * 1024;
const NOTHING: SavedContent = { ids: new Uint8Array(0), lengths: [], newBytes: 0, newBlobs: 0 };

export function createContentSaver(setup: WorkerSetup, emit: (frame: SealedFrame) => void): ContentSaver {
  const hash = createKeyedHash(setup.dataKey);
  const frames = createFrameWriter("data", setup, setup.compression, emit);
  // A stream may be open while files are read in between: each has a buffer of its own.
  let fileChunker: Chunker | undefined;
  let streamChunker: Chunker | undefined;

  function store(content: ContentBuilder, chunk: Uint8Array): void {
    const id: BlobId = hash.hash(chunk);
    const isNew = claimForStoring(setup.blobs, id);
    if (isNew) frames.append(id, chunk);
    content.add(id, chunk.length, isNew);
  }

  /** Feeds the chunker's buffer and stores each chunk as soon as its end is certain. */
  function createCutter({ buffer, cut }: Chunker): {
    room(): Buffer;
    filled(bytes: number): void;
    end(): SavedContent;
  } {
    const content = createContentBuilder();
    let start = 0;
    let end = 0;
    return {
      room() {
        if (end === buffer.length) {
          buffer.copyWithin(0, start, end);
          end -= start;
          start = 0;
        }
        return buffer.subarray(end);
      },
      filled(bytes) {
        end += bytes;
        while (end - start >= MAXIMUM_CHUNK_BYTES) {
          const length = cut(start, end - start);
          store(content, buffer.subarray(start, start + length));
          start += length;
        }
      },
      end() {
        while (start < end) {
          const length = cut(start, end - start);
          store(content, buffer.subarray(start, start + length));
          start += length;
        }
        return content.finish();
      },
    };
  }

  return {
    saveSmallFile(fd, sizeBytes) {
      const room = frames.room(sizeBytes + 1);
      const read = readSync(fd, room, 0, sizeBytes + 1, 0);
      if (read !== sizeBytes) return undefined;
      if (read === 0) return NOTHING;
      const id = hash.hash(room.subarray(0, read));
      const isNew = claimForStoring(setup.blobs, id);
      if (isNew) frames.add(id, read);
      return { ids: id, lengths: [read], newBytes: isNew ? read : 0, newBlobs: isNew ? 1 : 0 };
    },

    saveBytes(bytes) {
      if (bytes.length === 0) return NOTHING;
      const content = createContentBuilder();
      store(content, bytes);
      return content.finish();
    },

    saveRanges(fd, ranges) {
      fileChunker ??= createChunker(setup.chunkKey, BUFFER_BYTES);
      const cutter = createCutter(fileChunker);
      let readBytes = 0;
      for (const range of ranges) {
        let at = range.offset;
        const end = range.offset + range.lengthBytes;
        while (at < end) {
          const room = cutter.room();
          const read = readSync(fd, room, 0, Math.min(room.length, end - at), at);
          if (read === 0) return { ...cutter.end(), readBytes };
          cutter.filled(read);
          at += read;
          readBytes += read;
        }
      }
      return { ...cutter.end(), readBytes };
    },

    openStream() {
      streamChunker ??= createChunker(setup.chunkKey, BUFFER_BYTES);
      const cutter = createCutter(streamChunker);
      return {
        push(bytes) {
          for (let at = 0; at < bytes.length;) {
            const room = cutter.room();
            const taken = Math.min(room.length, bytes.length - at);
            room.set(bytes.subarray(at, at + taken));
            cutter.filled(taken);
            at += taken;
          }
        },
        end: () => cutter.end(),
      };
    },

    flush: () => frames.flush(),
  };
}

interface ContentBuilder {
  add(id: Uint8Array, lengthBytes: number, isNew: boolean): void;
  finish(): SavedContent;
}

function createContentBuilder(): ContentBuilder {
  const ids: Uint8Array[] = [];
  const lengths: number[] = [];
  let newBytes = 0;
  let newBlobs = 0;
  return {
    add(id, lengthBytes, isNew) {
      ids.push(id);
      lengths.push(lengthBytes);
      if (isNew) {
        newBytes += lengthBytes;
        newBlobs++;
      }
    },
    finish: () => ({ ids: ids.length === 1 ? ids[0] : Buffer.concat(ids), lengths, newBytes, newBlobs }),
  };
}
