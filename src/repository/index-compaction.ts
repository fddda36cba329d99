import { sha256Hex } from "../crypto/keyed-hash.ts";
import { ObjectMissingError } from "../errors.ts";
import {
  type BlobSection,
  type DecodedIndex,
  encodeIndex,
  type IndexPack,
  openBlobSection,
  packOf,
  sealBlobSection,
} from "../format/index-object.ts";
import { PREFIXES } from "../format/names.ts";
import { createBlobTable, insertBlob, locateBlob } from "./blob-table.ts";
import type { FrameTable } from "./frame-table.ts";
import { IndexGoneError, type LoadedObject, readIndex } from "./index-loader.ts";
import type { Repository } from "./repository.ts";

/**
 * Writes what some indexes say into fewer, and then deletes the old ones.
 *
 * The new ones are durable before an old one goes, so that there is never less in storage than before. Whoever has listed
 * an old one and does not find it any more lists again; whoever misses both in a listing that was going on meanwhile finds
 * that packs are in no index, and reads their own directories, or lists again (`index-loader.ts`, `frame-reader.ts`).
 *
 * Two that rewrite the same indexes at once write the same twice, which the next one joins. One that merges while pruning
 * drops a pack may list that pack again: those who write leave out packs that are not there, those who read look again
 * without them, and the next prune drops it for good.
 */

/** About how many blobs one new index gets; a larger merge makes several. It bounds the memory that merging takes. */
const BLOBS_PER_INDEX = 1_000_000;

const SMALL_INDEX_BYTES = 512 * 1024;
const MEDIUM_INDEX_BYTES = 8 * 1024 * 1024;
const INDEXES_TO_MERGE = 32;

/**
 * Which indexes to merge so that they stay few, however often something is saved: all small ones, once there are many.
 * With `alsoMedium`, for those who have the time, larger ones as well.
 */
export function indexesToMerge(
  objects: readonly Pick<LoadedObject, "name" | "sizeBytes">[],
  alsoMedium: boolean,
): readonly string[] {
  for (const limit of alsoMedium ? [MEDIUM_INDEX_BYTES, SMALL_INDEX_BYTES] : [SMALL_INDEX_BYTES]) {
    const below = objects.filter(({ sizeBytes }) => sizeBytes < limit);
    if (below.length > INDEXES_TO_MERGE) return below.map(({ name }) => name);
  }
  return [];
}

/** What a rewrite keeps. */
export interface Keep {
  /** By a pack's name in hex. */
  readonly pack: (name: string) => boolean;
  /** Whether blobs of a frame are kept. */
  readonly frame: (origin: Buffer, number: number) => boolean;
}

/** Keeps packs that `keepPack` wants, and of blobs those of which one of these holds the frame. */
export function keepingPacks(frames: FrameTable, keepPack: (name: string) => boolean): Keep {
  const isKept = frames.packs.map(({ name }) => keepPack(name.toString("hex")));
  return {
    pack: keepPack,
    frame(origin, number) {
      const frame = frames.find(origin, number);
      return frame >= 0 && [frame, ...frames.copiesOf(frame)].some((copy) => isKept[frames.packIndexOf(copy)]);
    },
  };
}

/** Joins indexes without leaving anything out. Gives false where somebody else is at it, or has done it. */
export async function mergeIndexes(repository: Repository, names: readonly string[]): Promise<boolean> {
  const everything: Keep = { pack: () => true, frame: () => true };
  return rewrite(repository, names, everything, "leave to others");
}

/**
 * Writes indexes anew without what `keep` does not want. For `keepingPacks`, the table must know all packs that are there.
 */
export async function rewriteIndexes(repository: Repository, names: readonly string[], keep: Keep): Promise<void> {
  await rewrite(repository, names, keep, "go on");
}

async function rewrite(
  repository: Repository,
  names: readonly string[],
  keep: Keep,
  whereOneIsGone: "go on" | "leave to others",
): Promise<boolean> {
  const { storage } = repository;
  const written = new Set<string>();
  const gone = new Set<string>();
  const listedPacks = new Set<string>();
  let packs: IndexPack[] = [];
  let blobs = createBlobGathering();

  async function write(): Promise<void> {
    if (packs.length === 0 && blobs.count() === 0) return;
    const parts = encodeIndex({
      repositoryId: repository.ring.repositoryId,
      packs,
      sections: blobs.count() === 0 ? [] : [blobs.seal(repository)],
    });
    const name = PREFIXES.index + sha256Hex(...parts);
    await storage.put(name, parts);
    written.add(name);
    packs = [];
    blobs = createBlobGathering();
  }

  for (const name of names) {
    const index = await readIfThere(repository, name);
    if (index === undefined) {
      // What it said is in an index that is not among ours.
      if (whereOneIsGone === "leave to others") return false;
      gone.add(name);
      continue;
    }
    for (let pack = 0; pack < index.packCount; pack++) {
      const row = packOf(index, pack);
      const packName = row.name.toString("hex");
      if (listedPacks.has(packName) || !keep.pack(packName)) continue;
      listedPacks.add(packName);
      packs.push(row);
    }
    for (const section of index.sections) gatherSection(repository, section, name, keep, blobs);
    if (blobs.count() >= BLOBS_PER_INDEX) await write();
  }
  await write();
  for (const name of names) if (!written.has(name) && !gone.has(name)) await storage.delete(name);
  return true;
}

async function readIfThere(repository: Repository, name: string): Promise<DecodedIndex | undefined> {
  try {
    return await readIndex(repository, name);
  } catch (error) {
    if (error instanceof IndexGoneError || error instanceof ObjectMissingError) return undefined;
    throw error;
  }
}

function gatherSection(
  { ring }: Repository,
  section: BlobSection,
  what: string,
  keep: Keep,
  blobs: BlobGathering,
): void {
  const { origins, originIndexes, numbers } = section.frameNames;
  const frameOfName = new Int32Array(numbers.length);
  for (let at = 0; at < frameOfName.length; at++) {
    const origin = Buffer.from(origins.buffer, origins.byteOffset + originIndexes[at] * 32, 32);
    frameOfName[at] = keep.frame(origin, numbers[at]) ? blobs.frame(origin, numbers[at]) : -1;
  }
  const columns = openBlobSection(ring.indexKey, ring.repositoryId, section, what);
  for (let blob = 0; blob < columns.count; blob++) {
    const frame = frameOfName[columns.frames[blob]];
    if (frame >= 0) blobs.add(columns.ids, blob * 16, frame, columns.places[blob], columns.lengths[blob]);
  }
}

interface BlobGathering {
  count(): number;
  /** A number for a frame, to be used with `add`. */
  frame(origin: Buffer, number: number): number;
  add(ids: Uint8Array, at: number, frame: number, place: number, lengthBytes: number): void;
  seal(repository: Repository): BlobSection;
}

/** Columns of blobs that grow. */
function createBlobGathering(): BlobGathering {
  let count = 0;
  let capacity = 1024;
  let ids = new Uint8Array(capacity * 16);
  let frames = new Uint32Array(capacity);
  let places = new Uint16Array(capacity);
  let lengths = new Uint32Array(capacity);
  const origins: Buffer[] = [];
  const originNumbers = new Map<string, number>();
  const frameNumbers = new Map<string, number>();
  const frameNames: { readonly origin: number; readonly number: number }[] = [];

  function grow(): void {
    capacity *= 2;
    const old = { ids, frames, places, lengths };
    ids = new Uint8Array(capacity * 16);
    frames = new Uint32Array(capacity);
    places = new Uint16Array(capacity);
    lengths = new Uint32Array(capacity);
    ids.set(old.ids);
    frames.set(old.frames);
    places.set(old.places);
    lengths.set(old.lengths);
  }

  function originNumber(origin: Buffer): number {
    const key = origin.latin1Slice();
    let number = originNumbers.get(key);
    if (number === undefined) {
      number = origins.length;
      originNumbers.set(key, number);
      origins.push(Buffer.from(origin));
    }
    return number;
  }

  /** Moves blobs that stand there once before, from an index that listed the same, out of the way. */
  function dropRepetitions(): void {
    const table = createBlobTable(count);
    let kept = 0;
    for (let blob = 0; blob < count; blob++) {
      const [known] = table.used;
      insertBlob(table, ids, blob * 16, frames[blob], places[blob]);
      const first = locateBlob(table, ids.subarray(blob * 16, blob * 16 + 16));
      if (table.used[0] === known && first?.frame === frames[blob] && first.place === places[blob]) continue;
      ids.copyWithin(kept * 16, blob * 16, blob * 16 + 16);
      frames[kept] = frames[blob];
      places[kept] = places[blob];
      lengths[kept] = lengths[blob];
      kept++;
    }
    count = kept;
  }

  return {
    count: () => count,
    frame(origin, number) {
      const originIndex = originNumber(origin);
      const key = `${originIndex}:${number}`;
      let frame = frameNumbers.get(key);
      if (frame === undefined) {
        frame = frameNames.length;
        frameNumbers.set(key, frame);
        frameNames.push({ origin: originIndex, number });
      }
      return frame;
    },
    add(fromIds, at, frame, place, lengthBytes) {
      if (count === capacity) grow();
      ids.set(fromIds.subarray(at, at + 16), count * 16);
      frames[count] = frame;
      places[count] = place;
      lengths[count] = lengthBytes;
      count++;
    },
    seal(repository) {
      dropRepetitions();
      const { indexKey, repositoryId } = repository.ring;
      return sealBlobSection(indexKey, repositoryId, {
        count,
        frameNames: {
          origins: Buffer.concat(origins),
          originIndexes: Uint32Array.from(frameNames, ({ origin }) => origin),
          numbers: Uint32Array.from(frameNames, ({ number }) => number),
        },
        ids: ids.subarray(0, count * 16),
        frames: frames.subarray(0, count),
        places: places.subarray(0, count),
        lengths: lengths.subarray(0, count),
      });
    },
  };
}
