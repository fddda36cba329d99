import type { KeyObject } from "node:crypto";
import { createKeyedHash } from "../crypto/keyed-hash.ts";
import { derivedKeys } from "../crypto/key-ring.ts";
import { DamagedError, messageOf, ObjectMissingError } from "../errors.ts";
import { type FrameBlobs, openFrame, parseFrameBlobs } from "../format/frame.ts";
import { packObjectName } from "../format/pack.ts";
import type { BlobId } from "../format/tree.ts";
import type { BlobReader } from "./blob-reader.ts";
import { locateBlob as locateInTable } from "./blob-table.ts";
import { createFrameKeys } from "./frame-keys.ts";
import type { FrameRow } from "./frame-table.ts";
import { type LoadedIndex, loadIndex } from "./index-loader.ts";
import { privateKeyOf, type Repository } from "./repository.ts";

/** Where a blob lies: which frame of the index, and which place in it. */
export interface BlobLocation {
  readonly frame: number;
  readonly place: number;
}

/** A frame, opened. */
export interface OpenedBlobs {
  readonly raw: Buffer;
  readonly blobs: FrameBlobs;
}

/**
 * Reads blobs through the index. Every blob is verified against its id, so that what it gives is right or an error.
 * Where a pack was rewritten since the index was loaded, the index is loaded again, once for each such surprise.
 */
export interface FrameReader extends BlobReader {
  /** Throws `DamagedError` where no index knows the blob. */
  locate(id: BlobId): BlobLocation;
  frame(frame: number): FrameRow;
  /** All places where the frame lies, the usual one first. */
  copies(frame: number): FrameRow[];
  /** The key of all frames of an origin; for workers that open frames themselves. */
  keyOf(origin: Buffer): KeyObject;
  openFrame(frame: number): Promise<OpenedBlobs>;
  readonly index: LoadedIndex;
}

const CACHED_FRAME_BYTES = 16 * 1024 * 1024;

export async function openFrameReader(repository: Repository, loaded?: LoadedIndex): Promise<FrameReader> {
  const privateKey = privateKeyOf(repository);
  const { storage, ring } = repository;
  const { data, tree } = derivedKeys(ring);
  const hashes = { data: createKeyedHash(data), tree: createKeyedHash(tree) };
  const keyOf = createFrameKeys(privateKey, ring.repositoryId);
  const cache = createFrameCache(CACHED_FRAME_BYTES);
  let index = loaded ?? (await loadIndex(repository, { forWriting: false }));

  function locate(id: BlobId): BlobLocation {
    const location = locateInTable(index.blobs, id);
    if (location !== undefined) return location;
    throw new DamagedError(`blob ${Buffer.from(id).toString("hex").slice(0, 16)}… is in no index`, {
      hint: 'run "holdfast check", and then "holdfast repair index" where it tells you to',
    });
  }

  async function readFrame(frame: number): Promise<OpenedBlobs> {
    const rows = copies(frame);
    let failure: unknown;
    for (const row of rows) {
      try {
        return await openRow(row);
      } catch (error) {
        failure ??= error;
        if (!(error instanceof DamagedError || error instanceof ObjectMissingError)) throw error;
      }
    }
    throw failure;
  }

  async function openRow(row: FrameRow): Promise<OpenedBlobs> {
    const pack = packObjectName(row.pack.name.toString("hex"));
    const record = await storage.get(pack, { offset: row.offset, length: row.length });
    try {
      const { raw } = openFrame(record, keyOf(row.origin), ring.repositoryId, row);
      return { raw, blobs: parseFrameBlobs(raw) };
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      throw new DamagedError(`${pack} is damaged: ${messageOf(error)}`, {
        hint: 'run "holdfast check --read-data" to see all damage',
        cause: error,
      });
    }
  }

  function copies(frame: number): FrameRow[] {
    return [frame, ...index.frames.copiesOf(frame)].map((copy) => index.frames.locate(copy));
  }

  async function openCached(frame: number): Promise<OpenedBlobs> {
    const cached = cache.get(frame);
    if (cached !== undefined) return cached;
    const opening = readFrame(frame);
    cache.put(frame, opening);
    return opening;
  }

  async function readBlob(kind: "data" | "tree", id: BlobId): Promise<Uint8Array> {
    try {
      return await readVerified(kind, id);
    } catch (error) {
      if (!(error instanceof ObjectMissingError)) throw error;
      // Pruning has moved it: what is there now is in a newer index.
      index = await loadIndex(repository, { forWriting: false });
      cache.clear();
      return readVerified(kind, id);
    }
  }

  async function readVerified(kind: "data" | "tree", id: BlobId): Promise<Uint8Array> {
    const { frame, place } = locate(id);
    const { raw, blobs } = await openCached(frame);
    const offset = blobs.offsets[place];
    const blob = place < blobs.count ? raw.subarray(offset, offset + blobs.lengths[place]) : undefined;
    if (blob !== undefined && hashes[kind].hash(blob).equals(id)) return blob;
    const pack = index.frames.packOf(frame).name.toString("hex");
    throw new DamagedError(`pack ${pack.slice(0, 16)}… holds something else than the blob that should be there`, {
      hint: 'run "holdfast check --read-data"',
    });
  }

  return {
    get index() {
      return index;
    },
    locate,
    frame: (frame) => index.frames.locate(frame),
    copies,
    keyOf,
    openFrame: openCached,
    readTree: (id) => readBlob("tree", id),
    readData: (id) => readBlob("data", id),
  };
}

/** Opened frames, the least recently used of which go first. */
interface FrameCache {
  get(frame: number): Promise<OpenedBlobs> | undefined;
  put(frame: number, opening: Promise<OpenedBlobs>): void;
  clear(): void;
}

function createFrameCache(limitBytes: number): FrameCache {
  const frames = new Map<number, { opening: Promise<OpenedBlobs>; bytes: number }>();
  let bytes = 0;
  return {
    get(frame) {
      const found = frames.get(frame);
      if (found === undefined) return undefined;
      frames.delete(frame);
      frames.set(frame, found);
      return found.opening;
    },
    put(frame, opening) {
      const cached = { opening, bytes: 0 };
      frames.set(frame, cached);
      opening.then(
        ({ raw }) => {
          if (frames.get(frame) !== cached) return;
          cached.bytes = raw.length;
          bytes += raw.length;
          for (const [oldest, { bytes: size }] of frames) {
            if (bytes <= limitBytes || oldest === frame) break;
            frames.delete(oldest);
            bytes -= size;
          }
        },
        () => frames.delete(frame),
      );
    },
    clear() {
      frames.clear();
      bytes = 0;
    },
  };
}
