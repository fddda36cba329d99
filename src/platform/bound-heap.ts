import { setFlagsFromString } from "node:v8";
import { isExported, libcFunction } from "./libc.ts";

/** Of the GNU C library; others have no such thing. */
const ALLOCATOR = { mallopt: libcFunction("mallopt", "int", ["int", "int"]) };
const M_MMAP_THRESHOLD = -3;
const LARGE_BYTES = 256 * 1024;

let isMallocBound = false;
let isBounded = false;

/**
 * From now on, large pieces of memory go back to the kernel as soon as they are free, and new ones are zero without having
 * been touched. Left to itself, malloc keeps what it may need again, and clears it for those who want zeros.
 */
export function boundMalloc(): void {
  if (isMallocBound) return;
  isMallocBound = true;
  if (isExported(ALLOCATOR)) ALLOCATOR.mallopt()(M_MMAP_THRESHOLD, LARGE_BYTES);
}

/**
 * From now on, garbage is collected as soon as there is as much of it as of what is in use, in all threads. Left to itself,
 * V8 lets several times as much gather where much is made in little time. It costs a few hundredths of the processor's time.
 */
export function boundHeap(): void {
  if (isBounded) return;
  isBounded = true;
  setFlagsFromString("--heap-growing-percent=100");
  boundMalloc();
}

/**
 * While `work` goes on, all objects are made among the young. V8 puts those aside of which some lived long, where they wait
 * for a large collection: of an endless row of objects that are soon done with, tens of megabytes gather there. Work that
 * needs many for long gets slower by this.
 */
export async function makingYoungObjects<T>(work: () => Promise<T>): Promise<T> {
  setFlagsFromString("--no-allocation-site-pretenuring");
  try {
    return await work();
  } finally {
    setFlagsFromString("--allocation-site-pretenuring");
  }
}
