import { decodeContentList, lengthOf, type ContentBlob, type FileEntry } from "../format/tree.ts";
import { DamagedError } from "../errors.ts";
import { displayPath } from "../platform/raw-path.ts";
import type { BlobReader } from "../repository/blob-reader.ts";

/** A run of a file's data between two holes. */
export interface DataRange {
  readonly fileOffset: number;
  /** Where it begins in the file's data, which is the file without its holes. */
  readonly dataOffset: number;
  readonly lengthBytes: number;
}

/** What of a file is not hole, in ascending order. */
export function* dataRanges(file: Pick<FileEntry, "sizeBytes" | "holes">): Generator<DataRange> {
  let fileOffset = 0;
  let dataOffset = 0;
  for (const hole of file.holes) {
    const lengthBytes = hole.offset - fileOffset;
    if (lengthBytes > 0) yield { fileOffset, dataOffset, lengthBytes };
    dataOffset += lengthBytes;
    fileOffset = hole.offset + hole.lengthBytes;
  }
  if (fileOffset < file.sizeBytes) yield { fileOffset, dataOffset, lengthBytes: file.sizeBytes - fileOffset };
}

/** A run of bytes that comes from one blob. */
export interface BlobExtent {
  readonly fileOffset: number;
  readonly blobOffset: number;
  readonly lengthBytes: number;
}

/** Tells, blob after blob, where in the file their bytes belong: one extent, or more where a hole lies inside. */
export interface BlobPlacer {
  place(lengthBytes: number): BlobExtent[];
}

export function createBlobPlacer(file: Pick<FileEntry, "name" | "sizeBytes" | "holes">): BlobPlacer {
  const ranges = dataRanges(file);
  let range = ranges.next();
  let used = 0;
  return {
    place(lengthBytes) {
      const extents: BlobExtent[] = [];
      for (let blobOffset = 0; blobOffset < lengthBytes;) {
        if (range.done) throw contentError(file, "its blobs are longer than its data");
        const length = Math.min(lengthBytes - blobOffset, range.value.lengthBytes - used);
        extents.push({ fileOffset: range.value.fileOffset + used, blobOffset, lengthBytes: length });
        blobOffset += length;
        used += length;
        if (used < range.value.lengthBytes) continue;
        range = ranges.next();
        used = 0;
      }
      return extents;
    },
  };
}

/** All blobs of a file in order, in batches; of a very large one, the lists of them are read one after another. */
export async function* contentBatches(reader: BlobReader, file: FileEntry): AsyncGenerator<readonly ContentBlob[]> {
  if (file.listed !== true) {
    yield file.content;
    return;
  }
  for (const list of file.content) yield await readContentList(reader, file, list);
}

/** The blobs that a content list of a very large file lists. */
export async function readContentList(reader: BlobReader, file: FileEntry, list: ContentBlob): Promise<ContentBlob[]> {
  const blobs = decodeContentList(await reader.readTree(list.id));
  const lengthBytes = lengthOf(blobs);
  if (lengthBytes !== list.lengthBytes) throw contentError(file, "a list of its blobs is of another length");
  return blobs;
}

/** The error for a file whose content is not what its entry says. */
export function contentError(file: Pick<FileEntry, "name">, problem: string): DamagedError {
  return new DamagedError(`file ${displayPath(file.name)} is damaged: ${problem}`);
}
