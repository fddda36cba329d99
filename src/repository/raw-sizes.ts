import { openBlobSection } from "../format/index-object.ts";
import { type LoadedIndex, readIndex } from "./index-loader.ts";
import type { Repository } from "./repository.ts";

/** By number of a frame in the table of an index. */
export interface RawSizes {
  /** Bytes of all its blobs, before compression. */
  readonly bytes: Float64Array;
  readonly blobs: Uint32Array;
}

/** What frames hold, as indexes tell it: they are read once more. Nothing of what no index lists. */
export async function readRawSizes(
  repository: Repository,
  { frames, objects }: Pick<LoadedIndex, "frames" | "objects">,
): Promise<RawSizes> {
  const { indexKey, repositoryId } = repository.ring;
  const sizes = { bytes: new Float64Array(frames.count()), blobs: new Uint32Array(frames.count()) };
  for (const { name } of objects) {
    const { sections } = await readIndex(repository, name);
    for (const section of sections) {
      const { origins, originIndexes, numbers } = section.frameNames;
      const columns = openBlobSection(indexKey, repositoryId, section, name);
      const bytes = new Float64Array(numbers.length);
      const blobs = new Uint32Array(numbers.length);
      for (let blob = 0; blob < columns.count; blob++) {
        bytes[columns.frames[blob]] += columns.lengths[blob];
        blobs[columns.frames[blob]]++;
      }
      numbers.forEach((number, at) => {
        const frame = frames.find(
          Buffer.from(origins.subarray(originIndexes[at] * 32, originIndexes[at] * 32 + 32)),
          number,
        );
        // The same frame may stand in several indexes.
        if (frame < 0 || sizes.blobs[frame] >= blobs[at]) return;
        sizes.bytes[frame] = bytes[at];
        sizes.blobs[frame] = blobs[at];
      });
    }
  }
  return sizes;
}
