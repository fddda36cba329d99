import { setFlagsFromString } from "node:v8";
import { isExported, libcFunction } from "./libc.ts";

/** Of the GNU C library; others have no such thing. */
const ALLOCATOR = { mallopt: libcFunction("mallopt", "int", ["int", "int"]) };
const M_MMAP_THRESHOLD = -3;
const LARGE_BYTES = 256 * 1024;

let isBounded = false;

/**
 * From now on, garbage is collected as soon as there is as much of it as of what is in use, in all threads, and large pieces
 * of memory go back to the kernel as soon as they are free. Left to itself, V8 lets several times as much gather where much
 * is made in little time, and malloc keeps what it may need again. It costs a few hundredths of the processor's time.
 */
export function boundHeap(): void {
  if (isBounded) return;
  isBounded = true;
  setFlagsFromString("--heap-growing-percent=100");
  if (isExported(ALLOCATOR)) ALLOCATOR.mallopt()(M_MMAP_THRESHOLD, LARGE_BYTES);
}
