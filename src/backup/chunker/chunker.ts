import { readFileSync } from "node:fs";
import { createKeyedHash } from "../../crypto/keyed-hash.ts";

/**
 * Cuts content where the content itself says so, so that an insertion moves few cuts.
 *
 * The table of random numbers comes from the repository's chunk key: without it, sizes of chunks tell nothing.
 * Sizes are between `MINIMUM_CHUNK_BYTES` (but for the last chunk) and `MAXIMUM_CHUNK_BYTES`, about 1 MiB usually.
 */
export interface Chunker {
  /** Where content is read to: at least `MAXIMUM_CHUNK_BYTES` and room to read ahead. */
  readonly buffer: Buffer;
  /**
   * Length of the chunk at `start` of `buffer`, where `available` bytes are there. Unless the content ends with them,
   * `available` must be at least `MAXIMUM_CHUNK_BYTES`, or the cut would depend on how the content was read.
   */
  cut(start: number, available: number): number;
}

export const MINIMUM_CHUNK_BYTES = 256 * 1024;
export const MAXIMUM_CHUNK_BYTES = 4 * 1024 * 1024;
const NORMAL_CHUNK_BYTES = 768 * 1024;

/**
 * Bits spread over the upper half of the hash, where most of the last 64 bytes have a say: 2 more than 2^20 calls for
 * before the normal size, 2 fewer after it (normalisation level 2 of the paper).
 */
const STRICT_MASK = spreadMask(22);
const LOOSE_MASK = spreadMask(18);

const PAGE_BYTES = 65536;
const BUFFER_START = PAGE_BYTES;

interface ChunkerExports {
  readonly memory: WebAssembly.Memory;
  configure(min: number, usual: number, max: number, strict: bigint, loose: bigint): void;
  cut(start: number, length: number): number;
}

let compiled: WebAssembly.Module | undefined;

export function createChunker(chunkKey: Uint8Array, bufferBytes: number): Chunker {
  compiled ??= new WebAssembly.Module(readFileSync(new URL("./chunker.wasm", import.meta.url)));
  const wasm = new WebAssembly.Instance(compiled).exports as unknown as ChunkerExports;
  const wantedPages = Math.ceil((BUFFER_START + bufferBytes) / PAGE_BYTES);
  wasm.memory.grow(Math.max(0, wantedPages - wasm.memory.buffer.byteLength / PAGE_BYTES));
  Buffer.from(wasm.memory.buffer, 0, 2048).set(gearTable(chunkKey));
  wasm.configure(MINIMUM_CHUNK_BYTES, NORMAL_CHUNK_BYTES, MAXIMUM_CHUNK_BYTES, STRICT_MASK, LOOSE_MASK);
  return {
    buffer: Buffer.from(wasm.memory.buffer, BUFFER_START, bufferBytes),
    cut: (start, available) => wasm.cut(BUFFER_START + start, available),
  };
}

function gearTable(chunkKey: Uint8Array): Buffer {
  const hash = createKeyedHash(chunkKey);
  return Buffer.concat(Array.from({ length: 256 }, (_, byte) => hash.hash(Uint8Array.of(byte)).subarray(0, 8)));
}

function spreadMask(bits: number): bigint {
  let mask = 0n;
  for (let bit = 0; bit < bits; bit++) mask |= 1n << BigInt(63 - 2 * bit);
  return BigInt.asUintN(64, mask);
}
