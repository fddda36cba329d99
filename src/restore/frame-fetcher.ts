import { DamagedError, messageOf, ObjectMissingError } from "../errors.ts";
import { packObjectName } from "../format/pack.ts";
import type { BlobId } from "../format/tree.ts";
import type { BlobLocation, FrameReader } from "../repository/frame-reader.ts";
import type { FrameRow } from "../repository/frame-table.ts";
import type { Storage } from "../storage/storage.ts";
import type { PostedFrame, PostedFrames } from "./worker/messages.ts";
import { readAhead } from "./worker/stored-frame.ts";

/**
 * Gets frames for workers as they lie in storage: reads neighbours in one go, or, where packs are files of this machine,
 * tells the workers where to read.
 */
export interface FrameFetcher {
  /** Where a blob lies; in frame `UNKNOWN_FRAME` where no index that is loaded knows it. */
  locate(id: BlobId): BlobLocation;
  /** Sealed bytes of a frame. */
  sealedBytes(frame: number): number;
  /** Frames by their number, in any order; one that cannot be read is told in the result. */
  fetch(frames: readonly number[]): Promise<FetchedFrames>;
}

export interface FetchedFrames {
  /** In the order asked for. */
  readonly posted: PostedFrames;
  /** To be given away with `posted`. */
  readonly transfer: readonly ArrayBuffer[];
}

export const UNKNOWN_FRAME = -1;

/** Reading on over a gap is cheaper than another request. */
const LARGEST_GAP_BYTES = 64 * 1024;
const LARGEST_READ_BYTES = 8 * 1024 * 1024;

interface Located {
  readonly place: number;
  readonly row: FrameRow;
}

export function createFrameFetcher(reader: FrameReader, storage: Storage): FrameFetcher {
  // A pack that is gone is not asked for again with each of its frames.
  const missingPacks = new Map<string, string>();

  async function readRun(run: readonly Located[], frames: PostedFrame[], chunks: Uint8Array[]): Promise<void> {
    const first = run[0].row;
    const last = run[run.length - 1].row;
    const pack = packObjectName(first.pack.name.toString("hex"));
    const length = last.offset + last.length - first.offset;
    try {
      const missing = missingPacks.get(pack);
      if (missing !== undefined) throw new ObjectMissingError(missing);
      const file = await storage.fileOf?.(pack);
      if (file !== undefined) readAhead(file, first.offset, length);
      const chunk =
        file === undefined ? chunks.push(await storage.get(pack, { offset: first.offset, length })) - 1 : -1;
      for (const { place, row } of run) {
        const name = row.origin.latin1Slice() + String(row.number);
        const frame = { name, key: reader.keyOf(row.origin), length: row.length };
        frames[place] =
          file === undefined
            ? { kind: "sealed", ...frame, chunk, offset: row.offset - first.offset }
            : { kind: "stored", ...frame, file, offset: row.offset };
      }
    } catch (error) {
      const message = messageOf(error);
      if (error instanceof ObjectMissingError) missingPacks.set(pack, message);
      for (const { place } of run) frames[place] = { kind: "unreadable", message };
    }
  }

  return {
    locate(id) {
      try {
        return reader.locate(id);
      } catch (error) {
        if (!(error instanceof DamagedError)) throw error;
        return { frame: UNKNOWN_FRAME, place: 0 };
      }
    },
    sealedBytes: (frame) => (frame === UNKNOWN_FRAME ? 0 : reader.frame(frame).length),
    async fetch(wanted) {
      const chunks: Uint8Array[] = [];
      const frames: PostedFrame[] = Array.from({ length: wanted.length });
      const located: Located[] = [];
      for (const [place, frame] of wanted.entries()) {
        if (frame === UNKNOWN_FRAME) frames[place] = { kind: "unreadable", message: "it is in no index" };
        else located.push({ place, row: reader.frame(frame) });
      }
      await Promise.all(runsOf(located).map((run) => readRun(run, frames, chunks)));
      return { posted: { chunks, frames }, transfer: chunks.map(ownMemory) };
    },
  };
}

/** Those that lie beside each other in one pack. */
function runsOf(located: readonly Located[]): Located[][] {
  const sorted = located.toSorted(
    (a, b) => Buffer.compare(a.row.pack.name, b.row.pack.name) || a.row.offset - b.row.offset,
  );
  const runs: Located[][] = [];
  for (const item of sorted) {
    const run = runs.at(-1);
    if (run !== undefined && belongsTo(run, item)) run.push(item);
    else runs.push([item]);
  }
  return runs;
}

function belongsTo(run: readonly Located[], { row }: Located): boolean {
  const first = run[0].row;
  const last = run[run.length - 1].row;
  return (
    row.pack === first.pack &&
    row.offset - (last.offset + last.length) <= LARGEST_GAP_BYTES &&
    row.offset + row.length - first.offset <= LARGEST_READ_BYTES
  );
}

/** The memory of bytes that may be given away: not a part of Node's pool or of something larger. */
function ownMemory(bytes: Uint8Array, index: number, chunks: Uint8Array[]): ArrayBuffer {
  if (bytes.byteLength !== bytes.buffer.byteLength) chunks[index] = Uint8Array.from(bytes);
  return chunks[index].buffer as ArrayBuffer;
}

/** Blobs that the main thread has read, in the place of frames. */
export function plainBlobs(blobs: readonly (Uint8Array | { readonly message: string })[]): FetchedFrames {
  const chunks: Uint8Array[] = [];
  const frames = blobs.map((blob): PostedFrame => {
    if (!(blob instanceof Uint8Array)) return { kind: "unreadable", message: blob.message };
    return { kind: "plain", chunk: chunks.push(Uint8Array.from(blob)) - 1 };
  });
  return { posted: { chunks, frames }, transfer: chunks.map(({ buffer }) => buffer as ArrayBuffer) };
}
