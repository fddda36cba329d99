import type { ByteOutput } from "./byte-output.ts";
import { weakSum } from "./checksums.ts";
import type { StrongSums } from "./checksums.ts";
import type { Cursor } from "./cursor.ts";
import { RsyncProtocolError } from "./rsync-error.ts";

/** How a file that the receiver has is cut into blocks (rsync's `struct sum_struct`). */
export interface SumHead {
  readonly count: number;
  readonly blockBytes: number;
  /** How much of each block's strong sum is sent. */
  readonly strongBytes: number;
  /** Length of the last block where it is a shorter one, else 0. */
  readonly remainderBytes: number;
}

export const NO_SUMS: SumHead = { count: 0, blockBytes: 0, strongBytes: 0, remainderBytes: 0 };

const SMALLEST_BLOCK_BYTES = 700;
const LARGEST_BLOCK_BYTES = 2 ** 17;
const LARGEST_OLD_BLOCK_BYTES = 2 ** 29;
const LONGEST_STRONG_BYTES = 16;
const SHORTEST_STRONG_BYTES = 2;
/** Chance of 1 in 2^10 that any block of a file matches by accident; the sum over the file then shows it. */
const BIAS_BITS = 10;
const WEAK_BITS = 32;

/** The sizes that an rsync would choose (generator.c, sum_sizes_sqroot), so that as much travels as with one. */
export function sumHeadFor(sizeBytes: number, protocol: number, digestBytes: number): SumHead {
  if (sizeBytes <= 0) return NO_SUMS;
  const blockBytes = blockLength(sizeBytes, protocol);
  const remainderBytes = sizeBytes % blockBytes;
  const count = Math.floor(sizeBytes / blockBytes) + (remainderBytes === 0 ? 0 : 1);
  if (count > 0x7fffffff) return NO_SUMS;
  let bits = BIAS_BITS + 2 * floorLog2(sizeBytes);
  bits = Math.max(0, bits - floorLog2(blockBytes));
  const wanted = Math.trunc((bits + 1 - WEAK_BITS + 7) / 8);
  const strongBytes = Math.min(Math.max(wanted, SHORTEST_STRONG_BYTES), LONGEST_STRONG_BYTES, digestBytes);
  return { count, blockBytes, strongBytes, remainderBytes };
}

/** The rounded square root of the size. */
function blockLength(sizeBytes: number, protocol: number): number {
  if (sizeBytes <= SMALLEST_BLOCK_BYTES ** 2) return SMALLEST_BLOCK_BYTES;
  const largest = protocol < 30 ? LARGEST_OLD_BLOCK_BYTES : LARGEST_BLOCK_BYTES;
  let bit = 2 ** Math.floor(floorLog2(sizeBytes) / 2);
  if (bit >= largest) return largest;
  let length = 0;
  do {
    if (sizeBytes >= (length + bit) ** 2) length += bit;
    bit /= 2;
  } while (bit >= 8);
  return Math.max(length, SMALLEST_BLOCK_BYTES);
}

function floorLog2(value: number): number {
  let log = 0;
  for (let rest = value; rest >= 2; rest = Math.floor(rest / 2)) log++;
  return log;
}

export function blockLengthAt(head: SumHead, block: number): number {
  return block === head.count - 1 && head.remainderBytes !== 0 ? head.remainderBytes : head.blockBytes;
}

export function writeSumHead(to: ByteOutput, head: SumHead): void {
  to.int32(head.count);
  to.int32(head.blockBytes);
  to.int32(head.strongBytes);
  to.int32(head.remainderBytes);
}

export function readSumHead(from: Cursor, protocol: number, digestBytes: number): SumHead {
  const count = from.int32();
  const blockBytes = from.int32();
  const strongBytes = from.int32();
  const remainderBytes = from.int32();
  const largest = protocol < 30 ? LARGEST_OLD_BLOCK_BYTES : LARGEST_BLOCK_BYTES;
  const wrong =
    count < 0
      ? `count of blocks ${count}`
      : blockBytes < 0 || blockBytes > largest || (count > 0 && blockBytes === 0)
        ? `length of blocks ${blockBytes}`
        : strongBytes < 0 || strongBytes > digestBytes
          ? `length of sums ${strongBytes}`
          : remainderBytes < 0 || remainderBytes > blockBytes
            ? `length of the last block ${remainderBytes}`
            : undefined;
  if (wrong !== undefined) throw new RsyncProtocolError(`rsync protocol: impossible ${wrong}`);
  return { count, blockBytes, strongBytes, remainderBytes };
}

/** Writes the weak and the strong sum of one block. */
export function writeBlockSum(to: ByteOutput, sums: StrongSums, head: SumHead, block: Uint8Array): void {
  to.int32(weakSum(block, 0, block.length));
  to.raw(sums.block(block).subarray(0, head.strongBytes));
}
