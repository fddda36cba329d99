import { sha256Hex } from "../crypto/keyed-hash.ts";
import { encodeIndex, type IndexFrame, type IndexPack } from "../format/index-object.ts";
import { PREFIXES } from "../format/names.ts";
import { freeMemory } from "../platform/free-memory.ts";
import { createBlobGathering } from "./blob-gathering.ts";
import type { PackedFrame, StoredPack } from "./pack-writer.ts";
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

/** It also bounds the memory that those who wait take. */
const BLOBS_PER_INDEX = 125_000;

export function createIndexWriter(repository: Repository): IndexWriter {
  let packs: IndexPack<Uint8Array>[] = [];
  let blobs = createBlobGathering();
  const written = new Set<string>();

  async function flush(): Promise<void> {
    if (packs.length === 0) return;
    const index = { repositoryId: repository.ring.repositoryId, packs, sections: [blobs.seal(repository)] };
    packs = [];
    blobs = createBlobGathering();
    const parts = encodeIndex(index);
    const name = PREFIXES.index + sha256Hex(...parts);
    await repository.storage.put(name, parts);
    // Waiting for the garbage collector takes too long.
    for (const part of parts) freeMemory(part);
    written.add(name);
  }

  return {
    async add(pack) {
      packs.push({ ...pack, frames: pack.frames.map(withoutBlobs) });
      for (const { origin, number, ids, lengths } of pack.frames) {
        const frame = blobs.frame(origin, number);
        for (let place = 0; place < lengths.length; place++) blobs.add(ids, place * 32, frame, place, lengths[place]);
      }
      if (blobs.count() >= BLOBS_PER_INDEX) await flush();
    },
    flush,
    written: () => written,
  };
}

function withoutBlobs(frame: PackedFrame): IndexFrame<Uint8Array> {
  const { kind, origin, number, offset, length, checksum, forwards } = frame;
  return { kind, origin, number, offset, length, checksum, ...(forwards && { forwards }) };
}
