/** Smaller memory may be shared: Node hands out parts of one buffer. */
const SURELY_UNSHARED_BYTES = 128 * 1024;
/** What openers of frames leave before and after the bytes they give. */
const MARGIN_BYTES = 64;

/**
 * Gives the memory of bytes back at once, where they have some of their own; nobody may use them afterwards. Waiting for
 * the garbage collector, which sees only small objects, lets a thread that opens frame after frame grow by 100 MB.
 */
export function freeMemory(bytes: Uint8Array): void {
  const { buffer, byteLength } = bytes;
  if (byteLength < SURELY_UNSHARED_BYTES || buffer.byteLength > byteLength + MARGIN_BYTES) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
