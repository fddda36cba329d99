/**
 * Gives back the memory of bytes that nobody will look at again, now. The collector of garbage knows how many buffers there
 * are, but hardly how much lies in them: where they come by the gigabyte, it would let hundreds of megabytes gather.
 *
 * Does nothing where other bytes lie in the same memory.
 */
export function freeMemory(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === bytes.byteLength) buffer.transfer(0);
}
