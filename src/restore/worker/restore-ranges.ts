import type { BlobExtent } from "../../browse/file-layout.ts";
import { DamagedError } from "../../errors.ts";
import { punchHole } from "../../platform/file-data.ts";
import { isZero, writeAt, writeSparselyAt } from "./file-content.ts";
import { EXTENT_WORDS, type RangesTask } from "./messages.ts";
import type { OpenedFrames } from "./opened-frames.ts";
import { hasBlob } from "./restore-file.ts";

export interface RangesResult {
  readonly writtenBytes: number;
  /** Whether something was not right before. */
  readonly changed: boolean;
  /** Blobs of the task that could not be had. */
  readonly damaged: readonly { readonly blob: number; readonly error: DamagedError }[];
}

/** Writes or compares parts of a large file. Throws `SystemError`. */
export function restoreRanges(frames: OpenedFrames, task: RangesTask, sparse: boolean): RangesResult {
  const damaged: { blob: number; error: DamagedError }[] = [];
  let writtenBytes = 0;
  let changed = false;
  let nextExtent = 0;
  for (let blob = 0; blob < task.lengths.length; blob++) {
    const extents: BlobExtent[] = [];
    for (; task.extents[nextExtent] === blob; nextExtent += EXTENT_WORDS) {
      const [fileOffset, blobOffset, lengthBytes] = task.extents.subarray(nextExtent + 1, nextExtent + EXTENT_WORDS);
      extents.push({ fileOffset, blobOffset, lengthBytes });
    }
    const id = task.ids.subarray(blob * 32, blob * 32 + 32);
    if (task.mode !== "write") {
      if (hasBlob(frames, task.fd, id, task.lengths[blob], extents)) continue;
      changed = true;
      // One difference is enough to know.
      if (task.mode === "compare") break;
    }
    try {
      const bytes = frames.blob(task.frames, task.blobs[blob * 2], task.blobs[blob * 2 + 1], id);
      if (bytes.length !== task.lengths[blob])
        throw new DamagedError("a piece of it has another length than its list says");
      for (const extent of extents) writtenBytes += writeExtent(task, extent, bytes, sparse);
      frames.release();
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      damaged.push({ blob, error });
    }
  }
  return { writtenBytes, changed, damaged };
}

function writeExtent(task: RangesTask, extent: BlobExtent, bytes: Buffer, sparse: boolean): number {
  const part = bytes.subarray(extent.blobOffset, extent.blobOffset + extent.lengthBytes);
  if (sparse && task.mode === "write") return writeSparselyAt(task.fd, part, extent.fileOffset);
  if (sparse && isZero(part) && punchHole(task.fd, extent.fileOffset, part.length)) return 0;
  writeAt(task.fd, part, extent.fileOffset);
  return part.length;
}
