import { sha256Hex } from "../crypto/keyed-hash.ts";
import { encodeIndex, type IndexPack, sealBlobSection } from "../format/index-object.ts";
import { PREFIXES } from "../format/names.ts";
import type { StoredPack } from "./pack-writer.ts";
import type { Repository } from "./repository.ts";

/**
 * Lists new packs in indexes. An index is written whenever many blobs wait for one, so that a run that is broken off
 * leaves little behind that must be read from packs again.
 */
export interface IndexWriter {
  add(pack: StoredPack): Promise<void>;
  flush(): Promise<void>;
  /** Names of the indexes that were written. */
  written(): ReadonlySet<string>;
}

const BLOBS_PER_INDEX = 250_000;

export function createIndexWriter(repository: Repository): IndexWriter {
  let packs: StoredPack[] = [];
  let blobs = 0;
  const written = new Set<string>();

  async function flush(): Promise<void> {
    if (packs.length === 0) return;
    const listed = packs;
    packs = [];
    blobs = 0;
    written.add(await storeIndex(repository, listed));
  }

  return {
    async add(pack) {
      packs.push(pack);
      for (const frame of pack.frames) blobs += frame.lengths.length;
      if (blobs >= BLOBS_PER_INDEX) await flush();
    },
    flush,
    written: () => written,
  };
}

/** Stores one index of these packs with all their blobs, and gives its object's name. */
export async function storeIndex(repository: Repository, packs: readonly StoredPack[]): Promise<string> {
  const { storage, ring } = repository;
  const parts = encodeIndex({
    repositoryId: ring.repositoryId,
    packs: packs.map((pack): IndexPack<Uint8Array> => ({
      name: pack.name,
      sizeBytes: pack.sizeBytes,
      frames: pack.frames,
    })),
    sections: [blobSection(repository, packs)],
  });
  const name = PREFIXES.index + sha256Hex(...parts);
  await storage.put(name, parts);
  return name;
}

function blobSection(repository: Repository, packs: readonly StoredPack[]): ReturnType<typeof sealBlobSection> {
  const allFrames = packs.flatMap((pack) => pack.frames);
  const count = allFrames.reduce((sum, frame) => sum + frame.lengths.length, 0);
  const ids = Buffer.allocUnsafe(count * 16);
  const frames = new Uint32Array(count);
  const places = new Uint16Array(count);
  const lengths = new Uint32Array(count);
  const numbers = new Uint32Array(allFrames.length);
  const originIndexes = new Uint32Array(allFrames.length);
  const origins = new Map<string, number>();
  let blob = 0;
  allFrames.forEach((frame, name) => {
    const key = Buffer.from(frame.origin).latin1Slice();
    if (!origins.has(key)) origins.set(key, origins.size);
    originIndexes[name] = origins.get(key) ?? 0;
    numbers[name] = frame.number;
    for (let place = 0; place < frame.lengths.length; place++, blob++) {
      ids.set(frame.ids.subarray(place * 32, place * 32 + 16), blob * 16);
      frames[blob] = name;
      places[blob] = place;
      lengths[blob] = frame.lengths[place];
    }
  });
  const frameNames = { origins: Buffer.from([...origins.keys()].join(""), "latin1"), originIndexes, numbers };
  const { indexKey, repositoryId } = repository.ring;
  return sealBlobSection(indexKey, repositoryId, { count, frameNames, ids, frames, places, lengths });
}
