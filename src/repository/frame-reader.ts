import type { KeyObject } from "node:crypto";
import { createKeyedHash } from "../crypto/keyed-hash.ts";
import { derivedKeys } from "../crypto/key-ring.ts";
import { DamagedError, HoldfastError, messageOf, ObjectMissingError } from "../errors.ts";
import { type FrameBlobs, openFrame, parseFrameBlobs } from "../format/frame.ts";
import { PREFIXES } from "../format/names.ts";
import { packObjectName } from "../format/pack.ts";
import type { BlobId } from "../format/tree.ts";
import type { BlobReader } from "./blob-reader.ts";
import { createBlobTable, locateBlob as locateInTable } from "./blob-table.ts";
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
 * Where something is not where the index says, because packs and indexes were rewritten since, the index is loaded again.
 * Numbers of frames that were given out before stay good: they mean what they meant.
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
  /** The index in use. Numbers of frames are those of its table as long as it is the first. */
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
  /** Indexes that were in use, with the number of their first frame among all frames ever known. */
  const generations: Generation[] = [
    { first: 0, index: loaded ?? (await loadIndex(repository, { forWriting: false })) },
  ];
  let reloading: Promise<void> | undefined;
  let isComplete = false;

  const current = (): Generation => generations[generations.length - 1];

  function generationOf(frame: number): Generation {
    let at = generations.length - 1;
    while (at > 0 && generations[at].first > frame) at--;
    return generations[at];
  }

  function locate(id: BlobId): BlobLocation {
    const { first, index } = current();
    const location = locateInTable(index.blobs, id);
    if (location === undefined) throw unknownBlob(id, index);
    return { frame: first + location.frame, place: location.place };
  }

  /**
   * Loads the index again, now with a look at which packs are there, and with those that no index lists. Gives false where
   * there is nothing new to learn.
   */
  async function reload(error: unknown, used: Generation): Promise<boolean> {
    if (!(error instanceof ObjectMissingError || error instanceof UnknownBlobError)) return false;
    if (current() !== used) return true;
    // What was loaded so is without packs that are gone; one that is missing has gone since.
    if (isComplete && error instanceof UnknownBlobError && !(await hasOtherIndexes(used.index))) return false;
    reloading ??= loadAgain().finally(() => (reloading = undefined));
    await reloading;
    return true;
  }

  async function loadAgain(): Promise<void> {
    const before = current();
    const index = await loadIndex(repository, { forWriting: true, keepCondemned: true });
    isComplete = true;
    generations.push({ first: before.first + before.index.frames.count(), index });
    // Of the old one only the places of frames are needed, for those who hold numbers of them.
    generations[generations.length - 2] = {
      first: before.first,
      index: { ...before.index, blobs: createBlobTable(0) },
    };
  }

  async function hasOtherIndexes(index: LoadedIndex): Promise<boolean> {
    const known = new Set(index.objects.map(({ name }) => name));
    for await (const { name } of storage.list(PREFIXES.index)) if (!known.delete(name)) return true;
    return known.size > 0;
  }

  async function readFrame(frame: number): Promise<OpenedBlobs> {
    const rows = copies(frame);
    let failure: unknown;
    for (const row of rows) {
      try {
        return await openRow(row);
      } catch (error) {
        // Whatever is wrong with this copy, an unreadable sector too: another may do.
        failure ??= error;
        if (!(error instanceof HoldfastError)) throw error;
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
    const { first, index } = generationOf(frame);
    const number = frame - first;
    return [number, ...index.frames.copiesOf(number)].map((copy) => index.frames.locate(copy));
  }

  async function openCached(frame: number): Promise<OpenedBlobs> {
    const cached = cache.get(frame);
    if (cached !== undefined) return cached;
    const opening = readFrame(frame);
    cache.put(frame, opening);
    return opening;
  }

  async function readBlob(kind: "data" | "tree", id: BlobId): Promise<Uint8Array> {
    let first: unknown;
    for (let attempt = 1; ; attempt++) {
      const used = current();
      try {
        return await readVerified(kind, id);
      } catch (error) {
        first ??= error;
        if (attempt > RELOADS_AT_MOST || !(await reload(error, used))) throw first;
      }
    }
  }

  async function readVerified(kind: "data" | "tree", id: BlobId): Promise<Uint8Array> {
    const { frame, place } = locate(id);
    const { raw, blobs } = await openCached(frame);
    const offset = blobs.offsets[place];
    const blob = place < blobs.count ? raw.subarray(offset, offset + blobs.lengths[place]) : undefined;
    if (blob !== undefined && hashes[kind].hash(blob).equals(id)) return blob;
    const pack = copies(frame)[0].pack.name.toString("hex");
    throw new DamagedError(`pack ${pack.slice(0, 16)}… holds something else than the blob that should be there`, {
      hint: 'run "holdfast check --read-data"',
    });
  }

  return {
    get index() {
      return current().index;
    },
    locate,
    frame: (frame) => copies(frame)[0],
    copies,
    keyOf,
    openFrame: openCached,
    readTree: (id) => readBlob("tree", id),
    readData: (id) => readBlob("data", id),
  };
}

interface Generation {
  readonly first: number;
  readonly index: LoadedIndex;
}

const RELOADS_AT_MOST = 5;

class UnknownBlobError extends DamagedError {}

function unknownBlob(id: BlobId, { missingPacks }: LoadedIndex): UnknownBlobError {
  const blob = `blob ${Buffer.from(id).toString("hex").slice(0, 16)}…`;
  const hint = 'run "holdfast check", and then "holdfast repair index" where it tells you to';
  if (missingPacks.length === 0) return new UnknownBlobError(`${blob} is in no index`, { hint });
  return new UnknownBlobError(`${blob} is in none of the packs that are there; ${missingPacks.length} are missing`, {
    hint,
  });
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
