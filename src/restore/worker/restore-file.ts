import { createBlobPlacer, type BlobExtent } from "../../browse/file-layout.ts";
import { DamagedError } from "../../errors.ts";
import type { ContentBlob, FileEntry } from "../../format/tree.ts";
import { truncateFd } from "../../platform/file-data.ts";
import type { FileStat } from "../../platform/file-stat.ts";
import { closeFd } from "../../platform/open.ts";
import { statAtIfExists } from "../../platform/stat.ts";
import type { OnShortfall } from "../attributes.ts";
import { hasSameTime, mayOverwrite } from "../existing.ts";
import { createFile, type FilePlace, isItsOwn, openToCompare, settleAttributes } from "../target-file.ts";
import { hasHoles, readExtents, writeAt, writeSparselyAt } from "./file-content.ts";
import { type Outcome, OUTCOME, type WorkerSetup } from "./messages.ts";
import type { OpenedFrames } from "./opened-frames.ts";

export interface FileToRestore extends FilePlace {
  /** False where the folder is new, so that nothing can be there. */
  readonly mayExist: boolean;
  /** If it is not there yet, and parts of it cannot be had, it is made of the others. */
  readonly keepDamaged: boolean;
  /** The bytes of one of its blobs. Throws `DamagedError`. */
  readonly blob: (index: number, id: ContentBlob["id"]) => Buffer;
}

export interface RestoredFile {
  readonly outcome: Outcome;
  readonly writtenBytes: number;
}

/** Restores one file. Throws `DamagedError` (then the target is as it was, but for `keepDamaged`), or `SystemError`. */
export function restoreFile(
  setup: WorkerSetup,
  frames: OpenedFrames,
  file: FileToRestore,
  onShortfall: OnShortfall,
): RestoredFile {
  const { entry, folderFd } = file;
  const existing = file.mayExist ? statAtIfExists(folderFd, entry.name) : undefined;
  if (existing !== undefined) {
    if (!mayOverwrite(setup.overwrite, entry, existing)) return { outcome: OUTCOME.skipped, writtenBytes: 0 };
    const kept = keepExisting(setup, frames, file, existing, onShortfall);
    if (kept !== undefined) return { outcome: kept, writtenBytes: 0 };
  }
  const outcome = existing === undefined ? OUTCOME.restored : OUTCOME.replaced;
  if (setup.dryRun) return { outcome, writtenBytes: 0 };
  return { outcome, writtenBytes: writeNew(setup, file, existing, onShortfall) };
}

/** Undefined where the existing file's content is not right, or where it cannot be kept for another reason. */
function keepExisting(
  setup: WorkerSetup,
  frames: OpenedFrames,
  file: FileToRestore,
  existing: FileStat,
  onShortfall: OnShortfall,
): Outcome | undefined {
  const { entry, folderFd } = file;
  if (existing.type !== "file" || existing.sizeBytes !== entry.sizeBytes) return undefined;
  if (!isItsOwn(existing) && entry.hardLink === undefined) return undefined;
  const fd = openToCompare(folderFd, entry.name);
  if (fd === undefined) return undefined;
  try {
    const trusted = setup.overwrite === "if-changed" && hasSameTime(entry, existing);
    if (!trusted && !hasContent(frames, fd, entry)) return undefined;
    const settled = settleAttributes(file, fd, setup, setup.dryRun, onShortfall);
    if (settled === "must be made anew") return undefined;
    return settled === "unchanged" ? OUTCOME.unchanged : OUTCOME.touched;
  } finally {
    closeFd(fd);
  }
}

// Grows to the largest blob seen: 4 MiB, or 8 in a repository that others have written.
let compareBuffer = Buffer.allocUnsafeSlow(1024 * 1024);

/** Whether an open file of the right size holds what the entry says. */
export function hasContent(frames: OpenedFrames, fd: number, entry: FileEntry): boolean {
  const placer = createBlobPlacer(entry);
  for (const { id, lengthBytes } of entry.content) {
    if (!hasBlob(frames, fd, id, lengthBytes, placer.place(lengthBytes))) return false;
  }
  return hasHoles(fd, entry.holes, entry.sizeBytes);
}

export function hasBlob(
  frames: OpenedFrames,
  fd: number,
  id: ContentBlob["id"],
  lengthBytes: number,
  extents: Iterable<BlobExtent>,
): boolean {
  if (lengthBytes > compareBuffer.length) compareBuffer = Buffer.allocUnsafeSlow(lengthBytes);
  const bytes = compareBuffer.subarray(0, lengthBytes);
  return readExtents(fd, bytes, extents) && frames.isBlob(bytes, id);
}

function writeNew(
  setup: WorkerSetup,
  file: FileToRestore,
  existing: FileStat | undefined,
  onShortfall: OnShortfall,
): number {
  const { entry } = file;
  const keepDamaged = file.keepDamaged && existing === undefined;
  let damage: DamagedError | undefined;
  // All content is at hand before anything is touched.
  const blobs = entry.content.map((blob, index) => {
    try {
      return blobBytes(file, blob, index);
    } catch (error) {
      if (!keepDamaged || !(error instanceof DamagedError)) throw error;
      damage ??= error;
      return undefined;
    }
  });
  const created = createFile(file, existing, setup);
  let writtenBytes = 0;
  try {
    writtenBytes = writeBlobs(created.fd, entry, blobs, setup.sparse);
  } catch (error) {
    created.discard();
    throw error;
  }
  created.finish(onShortfall, damage && "damaged");
  if (damage !== undefined) throw damage;
  return writtenBytes;
}

function blobBytes(file: FileToRestore, { id, lengthBytes }: ContentBlob, index: number): Buffer {
  const bytes = file.blob(index, id);
  if (bytes.length !== lengthBytes) throw new DamagedError("a piece of it has another length than its folder says");
  return bytes;
}

/** A blob that is undefined is left as a hole. */
function writeBlobs(fd: number, entry: FileEntry, blobs: readonly (Buffer | undefined)[], sparse: boolean): number {
  if (entry.holes.length === 0 && !sparse && !blobs.includes(undefined)) {
    let offset = 0;
    for (const bytes of blobs as readonly Buffer[]) {
      writeAt(fd, bytes, offset);
      offset += bytes.length;
    }
    return offset;
  }
  // The size first: what is not written then is a hole.
  truncateFd(fd, entry.sizeBytes);
  let written = 0;
  const placer = createBlobPlacer(entry);
  for (const [index, bytes] of blobs.entries()) {
    for (const { fileOffset, blobOffset, lengthBytes } of placer.place(entry.content[index].lengthBytes)) {
      if (bytes === undefined) continue;
      const part = bytes.subarray(blobOffset, blobOffset + lengthBytes);
      if (sparse) written += writeSparselyAt(fd, part, fileOffset);
      else {
        writeAt(fd, part, fileOffset);
        written += part.length;
      }
    }
  }
  return written;
}
