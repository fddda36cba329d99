import type { Hole } from "../../format/tree.ts";

/** A run of zeros of at least this is taken for a hole: rsync does not tell where holes are. */
const SMALLEST_HOLE_BYTES = 128 * 1024;
const BLOCK_BYTES = 4096;
const ZEROS = Buffer.alloc(64 * 1024);

/**
 * Leaves long runs of zeros out of a stream of content, and notes them in `holes`, which is emptied first. It looks at
 * blocks of 4 KiB, as holes are made of them on disc.
 */
export async function* withoutZeroRuns(
  pieces: AsyncIterable<Uint8Array>,
  holes: Hole[],
): AsyncGenerator<Uint8Array, void, undefined> {
  holes.length = 0;
  let offset = 0;
  /** Zeros that end at `offset`, not given yet. */
  let zeroBytes = 0;
  for await (const piece of pieces) {
    for (const part of splitByZeros(piece, offset)) {
      offset += part.bytes.length;
      if (part.isZero) {
        zeroBytes += part.bytes.length;
        continue;
      }
      yield* endOfRun(zeroBytes, offset - part.bytes.length, holes);
      zeroBytes = 0;
      yield part.bytes;
    }
  }
  yield* endOfRun(zeroBytes, offset, holes);
}

function* endOfRun(zeroBytes: number, end: number, holes: Hole[]): Generator<Uint8Array, void, undefined> {
  if (zeroBytes >= SMALLEST_HOLE_BYTES) {
    holes.push({ offset: end - zeroBytes, lengthBytes: zeroBytes });
    return;
  }
  if (zeroBytes > 0) yield new Uint8Array(zeroBytes);
}

interface Part {
  readonly bytes: Uint8Array;
  readonly isZero: boolean;
}

/** Parts that are whole zero blocks of the file, and what lies between them. */
function* splitByZeros(piece: Uint8Array, offset: number): Generator<Part, void, undefined> {
  let start = 0;
  let isZero: boolean | undefined;
  for (let at = 0; at < piece.length;) {
    const toBoundary = BLOCK_BYTES - ((offset + at) % BLOCK_BYTES);
    const end = Math.min(piece.length, at + toBoundary);
    const isZeroHere = isAllZero(piece, at, end);
    if (isZero !== undefined && isZeroHere !== isZero) {
      yield { bytes: piece.subarray(start, at), isZero };
      start = at;
    }
    isZero = isZeroHere;
    at = end;
  }
  if (isZero !== undefined) yield { bytes: piece.subarray(start), isZero };
}

function isAllZero(bytes: Uint8Array, start: number, end: number): boolean {
  if (bytes[start] !== 0 || bytes[end - 1] !== 0) return false;
  return Buffer.compare(bytes.subarray(start, end), ZEROS.subarray(0, end - start)) === 0;
}
