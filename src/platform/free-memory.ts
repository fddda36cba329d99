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
export function freeMemory(bytes: Uint8Array): void {
  const { buffer, byteLength } = bytes;
  const margin = byteLength < SURELY_ALONE_BYTES ? 0 : MARGIN_BYTES;
  if (buffer instanceof ArrayBuffer && buffer.byteLength <= byteLength + margin) buffer.transfer(0);
}
