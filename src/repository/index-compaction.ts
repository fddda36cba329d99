import { sha256Hex } from "../crypto/keyed-hash.ts";
import { ObjectMissingError } from "../errors.ts";
import {
  type BlobSection,
  type DecodedIndex,
  encodeIndex,
  type IndexPack,
  openBlobSection,
  packOf,
} from "../format/index-object.ts";
import { PREFIXES } from "../format/names.ts";
import { type BlobGathering, createBlobGathering } from "./blob-gathering.ts";
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
    dropRepetitions(blobs);
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

/** Blobs that stand there once before, from an index that listed the same, are left out. */
function dropRepetitions(blobs: BlobGathering): void {
  const table = createBlobTable(blobs.count());
  blobs.filter((ids, at, frame, place) => {
    const [known] = table.used;
    insertBlob(table, ids, at, frame, place);
    if (table.used[0] > known) return true;
    const first = locateBlob(table, ids.subarray(at, at + 16));
    return first?.frame !== frame || first.place !== place;
  });
}
