/**
 * For tests: what must hold when a decoder is given bytes that a broken disc or an enemy made. This goes through every
 * single change of one small object; random and cleverer ones are in `test/proof/`.
 */
import assert from "node:assert/strict";
import { HoldfastError } from "../../errors.ts";
import { processorMs } from "../../platform/testing/processor-time.ts";

/** No decoder of something small may take longer for anything. */
const MAXIMUM_MS = 500;
/** Memory that a decoder may take besides a multiple of the bytes it was given. */
const SPARE_BYTES = 4 * 1024 * 1024;

/**
 * Decodes, and fails unless the result is data or one of our named errors, soon, and without taking memory for what the
 * bytes only claim. Gives whether it was data.
 */
export function decodesOrNames(decode: (bytes: Buffer) => unknown, bytes: Buffer): boolean {
  const memoryBefore = process.memoryUsage().arrayBuffers;
  const start = processorMs();
  let decoded = true;
  try {
    decode(bytes);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    assert.match(error.message, /is damaged: |has format /, "the message says that it is damaged, and how");
    decoded = false;
  }
  const tookMs = processorMs() - start;
  const taken = process.memoryUsage().arrayBuffers - memoryBefore;
  assert.ok(tookMs < MAXIMUM_MS, `${tookMs} ms for ${bytes.length} bytes`);
  assert.ok(taken < SPARE_BYTES + bytes.length * 16, `${taken} bytes of memory for ${bytes.length}`);
  return decoded;
}

/** Every bit pattern that one altered byte can be taken to stand for: each byte with one bit, and with all, flipped. */
export function* alteredBytes(bytes: Buffer): Generator<{ at: number; altered: Buffer }> {
  for (let at = 0; at < bytes.length; at++) {
    for (const mask of [0x01, 0x80, 0xff]) {
      const altered = Buffer.from(bytes);
      altered[at] ^= mask;
      yield { at, altered };
    }
  }
}

/** Alterations, cuts and additions are each an error: for what is sealed or has a checksum. */
export function assertEveryChangeIsNoticed(decode: (bytes: Buffer) => unknown, valid: Buffer): void {
  decode(valid);
  for (const { at, altered } of alteredBytes(valid)) {
    assert.equal(decodesOrNames(decode, altered), false, `byte ${at} of ${valid.length} altered to ${altered[at]}`);
  }
  for (let length = 0; length < valid.length; length++) {
    assert.equal(decodesOrNames(decode, valid.subarray(0, length)), false, `cut to ${length} bytes`);
  }
  assert.equal(decodesOrNames(decode, Buffer.concat([valid, Buffer.alloc(1)])), false, "one byte more");
}

/** Alterations give data or a named error, cuts and additions always an error: for what others vouch for. */
export function assertChangesAreHarmless(decode: (bytes: Buffer) => unknown, valid: Buffer): void {
  decode(valid);
  for (const { altered } of alteredBytes(valid)) decodesOrNames(decode, altered);
  for (let length = 0; length < valid.length; length++) {
    assert.equal(decodesOrNames(decode, valid.subarray(0, length)), false, `cut to ${length} bytes`);
  }
  assert.equal(decodesOrNames(decode, Buffer.concat([valid, Buffer.alloc(1)])), false, "one byte more");
}
