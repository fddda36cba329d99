import { freeMemory } from "../../platform/free-memory.ts";
import { allocateNative, type NativeMemory } from "../../platform/libc.ts";

/**
 * Memory for frames that is used again and again. Memory that is made for each frame and let go after it costs a third of a
 * restore's time: the kernel must clear each page of it, and all threads wait for each other meanwhile.
 */
export interface FrameMemory {
  /** Room for at least so many bytes. What is in it is not defined. */
  take(sizeBytes: number): NativeMemory;
  giveBack(memory: NativeMemory): void;
}

/** Sizes are rounded, so that memory of one frame fits others; the kernel counts only what is used of it. */
const STEP_BYTES = 1024 * 1024;
const KEPT_BYTES = 12 * 1024 * 1024;

export function createFrameMemory(): FrameMemory {
  const free: NativeMemory[] = [];
  let freeBytes = 0;

  return {
    take(sizeBytes) {
      const at = smallestFit(free, sizeBytes);
      if (at < 0) return allocateNative(Math.max(1, Math.ceil(sizeBytes / STEP_BYTES)) * STEP_BYTES);
      const [memory] = free.splice(at, 1);
      freeBytes -= memory.bytes.length;
      return memory;
    },
    giveBack(memory) {
      free.push(memory);
      freeBytes += memory.bytes.length;
      while (freeBytes > KEPT_BYTES) {
        const [oldest] = free.splice(0, 1);
        freeBytes -= oldest.bytes.length;
        freeMemory(oldest.bytes);
      }
    },
  };
}

/** Of several, the one given back last: the likeliest to be in the processor's cache. -1 where none is large enough. */
function smallestFit(free: readonly NativeMemory[], sizeBytes: number): number {
  let best = -1;
  for (const [at, { bytes }] of free.entries()) {
    if (bytes.length >= sizeBytes && (best < 0 || bytes.length <= free[best].bytes.length)) best = at;
  }
  return best;
}
