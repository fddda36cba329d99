import { addressOf, isExported, libcFunction } from "./libc.ts";

/** What may lie beside bytes that came out of something larger, such as the head of a frame. */
const MARGIN_BYTES = 64;
/** Smaller pieces may lie in memory that Node hands out in parts. */
const SURELY_ALONE_BYTES = 128 * 1024;

/**
 * Gives back the memory of bytes that nobody will look at again, now. The collector of garbage knows how many buffers there
 * are, but hardly how much lies in them: where they come by the gigabyte, it would let hundreds of megabytes gather.
 *
 * Does nothing where other bytes lie in the same memory.
 */
export function freeMemory(bytes: ArrayBufferView): void {
  const { buffer, byteLength } = bytes;
  const margin = byteLength < SURELY_ALONE_BYTES ? 0 : MARGIN_BYTES;
  if (buffer instanceof ArrayBuffer && buffer.byteLength <= byteLength + margin) buffer.transfer(0);
}

const ADVICE = { madvise: libcFunction("madvise", "int", ["uintptr_t", "uintptr_t", "int"]) };
const MADV_DONTNEED = 4;
/** At most so large on all processors that Node runs on. */
const PAGE_BYTES = 64 * 1024;

/**
 * Gives back memory that several threads hold, which nobody can take from them: it reads as zeros from now on, in part or as
 * a whole, and takes up room again where it is written to. Only for what lies in a large piece of memory.
 */
export function emptySharedMemory(bytes: Uint8Array<SharedArrayBuffer>): void {
  if (!isExported(ADVICE)) return;
  const start = addressOf(bytes);
  const from = Math.ceil(start / PAGE_BYTES) * PAGE_BYTES;
  const to = Math.floor((start + bytes.length) / PAGE_BYTES) * PAGE_BYTES;
  if (to > from) ADVICE.madvise()(from, to - from, MADV_DONTNEED);
}
