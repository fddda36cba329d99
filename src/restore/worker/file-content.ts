/** Writing content into files, and comparing what is in them. */
import { readSync, writeSync } from "node:fs";
import type { BlobExtent } from "../../browse/file-layout.ts";
import type { Hole } from "../../format/tree.ts";
import { dataHoles, punchHole } from "../../platform/file-data.ts";

const ZEROS = Buffer.alloc(64 * 1024);
/** Blocks of file systems are of this size, or a part of it. */
const BLOCK_BYTES = 4096;

/** Writes all of `bytes` at `offset`. */
export function writeAt(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
}

/** The same, but leaves out whole blocks of zeros: what is there must be a hole. Gives how much it wrote. */
export function writeSparselyAt(fd: number, bytes: Uint8Array, offset: number): number {
  let written = 0;
  let from = 0;
  for (let at = 0; at < bytes.length;) {
    const blockEnd = Math.min(bytes.length, at + BLOCK_BYTES - ((offset + at) % BLOCK_BYTES));
    if (blockEnd - at === BLOCK_BYTES && isZero(bytes.subarray(at, blockEnd))) {
      if (at > from) writeAt(fd, bytes.subarray(from, at), offset + from);
      written += at - from;
      from = blockEnd;
    }
    at = blockEnd;
  }
  if (bytes.length > from) writeAt(fd, bytes.subarray(from), offset + from);
  return written + bytes.length - from;
}

export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length);
    if (Buffer.compare(part, part.length === ZEROS.length ? ZEROS : ZEROS.subarray(0, part.length)) !== 0) return false;
  }
  return true;
}

/** Fills `target` from `offset`; false where the file ends before. */
export function readExactly(fd: number, target: Uint8Array, offset: number): boolean {
  for (let done = 0; done < target.length;) {
    const length = readSync(fd, target, done, target.length - done, offset + done);
    if (length === 0) return false;
    done += length;
  }
  return true;
}

/** Fills `target` with the bytes of one blob from the places where they belong. */
export function readExtents(fd: number, target: Uint8Array, extents: Iterable<BlobExtent>): boolean {
  for (const { fileOffset, blobOffset, lengthBytes } of extents) {
    if (!readExactly(fd, target.subarray(blobOffset, blobOffset + lengthBytes), fileOffset)) return false;
  }
  return true;
}

/** More than this of written zeros, where holes should be, is not looked through: it is to be made a hole. */
const LOOKED_THROUGH_BYTES = 1024 * 1024;

/** Whether the holes are there, or something that reads the same and takes little space. */
export function hasHoles(fd: number, holes: readonly Hole[], sizeBytes: number): boolean {
  if (holes.length === 0) return true;
  return withoutHole(fd, holes, sizeBytes).every(
    ({ offset, lengthBytes }) => lengthBytes <= LOOKED_THROUGH_BYTES && readsAsZero(fd, offset, lengthBytes),
  );
}

function readsAsZero(fd: number, offset: number, lengthBytes: number): boolean {
  const bytes = Buffer.allocUnsafe(lengthBytes);
  return readExactly(fd, bytes, offset) && isZero(bytes);
}

/** Makes holes where there are none; where the file system cannot, writes zeros. */
export function makeHoles(fd: number, holes: readonly Hole[], sizeBytes: number): void {
  if (holes.length === 0) return;
  for (const { offset, lengthBytes } of withoutHole(fd, holes, sizeBytes)) {
    if (punchHole(fd, offset, lengthBytes)) continue;
    for (let done = 0; done < lengthBytes; done += ZEROS.length) {
      writeAt(fd, ZEROS.subarray(0, Math.min(ZEROS.length, lengthBytes - done)), offset + done);
    }
  }
}

/** What of these ranges is not a hole in the file. */
function withoutHole(fd: number, wanted: readonly Hole[], sizeBytes: number): Hole[] {
  const actual = dataHoles(fd, sizeBytes);
  const rest: Hole[] = [];
  let next = 0;
  for (const { offset, lengthBytes } of wanted) {
    let at = offset;
    const end = offset + lengthBytes;
    while (next < actual.length && actual[next].offset + actual[next].lengthBytes <= at) next++;
    for (let index = next; at < end; index++) {
      const hole = actual[index];
      const until = hole === undefined ? end : Math.min(end, hole.offset);
      if (until > at) rest.push({ offset: at, lengthBytes: until - at });
      if (hole === undefined) break;
      at = Math.max(at, hole.offset + hole.lengthBytes);
    }
  }
  return rest;
}
