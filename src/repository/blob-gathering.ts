import { type BlobSection, sealBlobSection } from "../format/index-object.ts";
import { freeMemory } from "../platform/free-memory.ts";
import type { Repository } from "./repository.ts";

/** Blobs that wait to be sealed into one section of an index, in columns that grow: 26 bytes a blob. */
export interface BlobGathering {
  count(): number;
  /** A number for a frame, to be used with `add`. */
  frame(origin: Uint8Array, number: number): number;
  /** The first 16 bytes of the id stand in `fromIds` from `at`. */
  add(fromIds: Uint8Array, at: number, frame: number, place: number, lengthBytes: number): void;
  /** Leaves out what `isKept` does not want. */
  filter(isKept: (ids: Uint8Array, at: number, frame: number, place: number) => boolean): void;
  /** Ends the gathering. */
  seal(repository: Pick<Repository, "ring">): BlobSection;
}

const FIRST_BLOBS = 1024;

export function createBlobGathering(): BlobGathering {
  let count = 0;
  let capacity = FIRST_BLOBS;
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
    for (const column of Object.values(old)) freeMemory(column);
  }

  function originNumber(origin: Uint8Array): number {
    const copy = Buffer.from(origin);
    const key = copy.latin1Slice();
    let number = originNumbers.get(key);
    if (number === undefined) {
      number = origins.length;
      originNumbers.set(key, number);
      origins.push(copy);
    }
    return number;
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
      for (let byte = 0; byte < 16; byte++) ids[count * 16 + byte] = fromIds[at + byte];
      frames[count] = frame;
      places[count] = place;
      lengths[count] = lengthBytes;
      count++;
    },
    filter(isKept) {
      let kept = 0;
      for (let blob = 0; blob < count; blob++) {
        if (!isKept(ids, blob * 16, frames[blob], places[blob])) continue;
        ids.copyWithin(kept * 16, blob * 16, blob * 16 + 16);
        frames[kept] = frames[blob];
        places[kept] = places[blob];
        lengths[kept] = lengths[blob];
        kept++;
      }
      count = kept;
    },
    seal({ ring }) {
      const section = sealBlobSection(ring.indexKey, ring.repositoryId, {
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
      // Megabytes, which the collector of garbage would leave for long.
      for (const column of [ids, frames, places, lengths]) freeMemory(column);
      return section;
    },
  };
}
