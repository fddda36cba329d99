import { type BlobId, type ContentBlob, encodeContentList, lengthOf, MAXIMUM_LISTED_BLOBS } from "../format/tree.ts";

/** The blobs of a file, from what a worker tells. */
export function contentBlobs(ids: Uint8Array, lengths: readonly number[]): ContentBlob[] {
  // Most files are of one.
  if (lengths.length === 1) return [{ id: ids, lengthBytes: lengths[0] }];
  return lengths.map((lengthBytes, place) => ({ id: ids.subarray(place * 32, place * 32 + 32), lengthBytes }));
}

/** Files of more blobs than this (about a GiB) have content lists: so a small change stores a small list anew. */
const MAXIMUM_DIRECT_BLOBS = 1024;
const SMALLEST_LIST = 256;
/** A list ends at an id with these bits zero: one of 512. */
const LIST_END_MASK = 511;

/** Content as it stands in a file's entry; where it is listed, the lists are stored as trees. */
export function listContent(
  blobs: readonly ContentBlob[],
  storeTree: (tree: Uint8Array) => BlobId,
): { readonly content: readonly ContentBlob[]; readonly listed: boolean } {
  if (blobs.length <= MAXIMUM_DIRECT_BLOBS) return { content: blobs, listed: false };
  const lists: ContentBlob[] = [];
  let first = 0;
  blobs.forEach(({ id }, index) => {
    const count = index + 1 - first;
    const isEnd = count >= SMALLEST_LIST && ((id[30] | (id[31] << 8)) & LIST_END_MASK) === 0;
    if (!isEnd && count < MAXIMUM_LISTED_BLOBS && index + 1 < blobs.length) return;
    const list = blobs.slice(first, index + 1);
    const lengthBytes = lengthOf(list);
    lists.push({ id: storeTree(encodeContentList(list)), lengthBytes });
    first = index + 1;
  });
  return { content: lists, listed: true };
}
