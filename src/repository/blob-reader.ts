import type { BlobId } from "../format/tree.ts";

/** What reading needs of a repository: blobs by id, verified against their id. */
export interface BlobReader {
  /** A tree blob's bytes. Recent trees are held in memory. Errors: `DamagedError`, `ObjectMissingError`, `WriteOnlyError`. */
  readTree(id: BlobId): Promise<Uint8Array>;
  /** A data blob's bytes; the frame it lies in is held a while, as its neighbours are likely to be asked for next. */
  readData(id: BlobId): Promise<Uint8Array>;
}
