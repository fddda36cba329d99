import { DamagedError } from "../errors.ts";
import { displayPath } from "../platform/raw-path.ts";
import type { FileEntry } from "../format/tree.ts";

/** A run of a file's bytes that comes from one blob. */
export interface FileExtent {
  readonly fileOffset: number;
  /** Which of the file's blobs. */
  readonly blob: number;
  readonly blobOffset: number;
  readonly lengthBytes: number;
}

/**
 * Where the bytes of a file's blobs belong, in ascending order; what no extent covers is a hole. One extent a blob,
 * except where a hole lies inside a blob. Throws `DamagedError` where blobs and holes do not add up to the size.
 */
export function* fileExtents(file: FileEntry): Generator<FileExtent> {
  let fileOffset = 0;
  let nextHole = 0;
  for (let blob = 0; blob < file.content.length; blob++) {
    const { lengthBytes } = file.content[blob];
    let blobOffset = 0;
    while (blobOffset < lengthBytes) {
      while (nextHole < file.holes.length && file.holes[nextHole].offset === fileOffset) {
        fileOffset += file.holes[nextHole++].lengthBytes;
      }
      const until = nextHole < file.holes.length ? file.holes[nextHole].offset : file.sizeBytes;
      const length = Math.min(lengthBytes - blobOffset, until - fileOffset);
      if (length <= 0) throw layoutError(file);
      yield { fileOffset, blob, blobOffset, lengthBytes: length };
      fileOffset += length;
      blobOffset += length;
    }
  }
  for (; nextHole < file.holes.length && file.holes[nextHole].offset === fileOffset; nextHole++) {
    fileOffset += file.holes[nextHole].lengthBytes;
  }
  if (fileOffset !== file.sizeBytes || nextHole !== file.holes.length) throw layoutError(file);
}

function layoutError(file: FileEntry): DamagedError {
  return new DamagedError(`file ${displayPath(file.name)} is damaged: its blobs and holes do not add up to its size`);
}
