import { sha256Hex } from "../crypto/keyed-hash.ts";
import { ObjectMissingError } from "../errors.ts";
import {
  type BlobSection,
  encodeIndex,
  type IndexPack,
  openBlobSection,
  packOf,
  sealBlobSection,
} from "../format/index-object.ts";
import { PREFIXES } from "../format/names.ts";
import type { FrameTable } from "./frame-table.ts";
import { IndexGoneError, readIndex } from "./index-loader.ts";
import type { Repository } from "./repository.ts";

/** About how many blobs one new index gets; a larger merge makes several. It bounds the memory that merging takes. */
const BLOBS_PER_INDEX = 1_000_000;

/**
 * Writes what some indexes say into new ones, without the packs that `keepPack` does not want and without blobs that then
 * have no frame; then deletes the old ones. The new ones are durable first, so that others never see less than there is;
 * whoever has listed an old one and does not find it any more lists again.
 */
export async function rewriteIndexes(
  repository: Repository,
  frames: FrameTable,
  names: readonly string[],
  keepPack: (packName: string) => boolean,
): Promise<void> {
  const { storage } = repository;
  const written = new Set<string>();
  const listedPacks = new Set<string>();
  const keptPacks = Uint8Array.from(frames.packs, (pack) => (keepPack(pack.name.toString("hex")) ? 1 : 0));
  let packs: IndexPack[] = [];
  let blobs = createBlobGathering(frames);

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
    blobs = createBlobGathering(frames);
  }

  const gone: string[] = [];
  for (const name of names) {
    try {
      const index = await readIndex(repository, name);
      for (let pack = 0; pack < index.packCount; pack++) {
        const row = packOf(index, pack);
        const packName = row.name.toString("hex");
        if (listedPacks.has(packName) || !keepPack(packName)) continue;
        listedPacks.add(packName);
        packs.push(row);
      }
      for (const section of index.sections) gatherSection(section, name);
    } catch (error) {
      // Another run has merged it already; what it said is in an index that is not among ours.
      if (!(error instanceof IndexGoneError || error instanceof ObjectMissingError)) throw error;
      gone.push(name);
    }
    if (blobs.count() >= BLOBS_PER_INDEX) await write();
  }
  await write();
  for (const name of names) if (!written.has(name) && !gone.includes(name)) await storage.delete(name);

  function gatherSection(section: BlobSection, name: string): void {
    const { frameNames } = section;
    const frameOfName = new Int32Array(frameNames.numbers.length);
    for (let at = 0; at < frameOfName.length; at++) {
      const origin = frameNames.originIndexes[at] * 32;
      const originIndex = frames.findOrigin(
        Buffer.from(frameNames.origins.buffer, frameNames.origins.byteOffset + origin, 32),
      );
      const frame = frames.findIn(originIndex, frameNames.numbers[at]);
      const isKept = frame >= 0 && [frame, ...frames.copiesOf(frame)].some((copy) => keptPacks[frames.packIndexOf(copy)] === 1);
      frameOfName[at] = isKept ? frame : -1;
    }
    const { ring } = repository;
    const columns = openBlobSection(ring.indexKey, ring.repositoryId, section, name);
    for (let blob = 0; blob < columns.count; blob++) {
      const frame = frameOfName[columns.frames[blob]];
      if (frame >= 0) blobs.add(columns.ids, blob * 16, frame, columns.places[blob], columns.lengths[blob]);
    }
  }
}

interface BlobGathering {
  count(): number;
  add(ids: Uint8Array, at: number, frame: number, place: number, lengthBytes: number): void;
  seal(repository: Repository): BlobSection;
}

/** Columns of blobs that grow, by the frames of a table. */
function createBlobGathering(table: FrameTable): BlobGathering {
  let count = 0;
  let capacity = 1024;
  let ids = new Uint8Array(capacity * 16);
  let frames = new Uint32Array(capacity);
  let places = new Uint16Array(capacity);
  let lengths = new Uint32Array(capacity);

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

  return {
    count: () => count,
    add(fromIds, at, frame, place, lengthBytes) {
      if (count === capacity) grow();
      ids.set(fromIds.subarray(at, at + 16), count * 16);
      frames[count] = frame;
      places[count] = place;
      lengths[count] = lengthBytes;
      count++;
    },
    seal(repository) {
      const used = [...new Set(frames.subarray(0, count))];
      const nameOfFrame = new Map(used.map((frame, name) => [frame, name]));
      const originPlaces = new Map<number, number>();
      for (const frame of used) {
        const origin = table.originIndexOf(frame);
        if (!originPlaces.has(origin)) originPlaces.set(origin, originPlaces.size);
      }
      const frameNames = {
        origins: Buffer.concat([...originPlaces.keys()].map((origin) => table.origins[origin])),
        originIndexes: Uint32Array.from(used, (frame) => originPlaces.get(table.originIndexOf(frame)) ?? 0),
        numbers: Uint32Array.from(used, (frame) => table.numberOf(frame)),
      };
      const { indexKey, repositoryId } = repository.ring;
      return sealBlobSection(indexKey, repositoryId, {
        count,
        frameNames,
        ids: ids.subarray(0, count * 16),
        frames: frames.subarray(0, count).map((frame) => nameOfFrame.get(frame) ?? 0),
        places: places.subarray(0, count),
        lengths: lengths.subarray(0, count),
      });
    },
  };
}
