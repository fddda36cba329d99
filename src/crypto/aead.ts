import { createCipheriv, createDecipheriv, createSecretKey, KeyObject } from "node:crypto";
import { freeMemory } from "../platform/free-memory.ts";

/** 32 bytes; `prepareKey` makes of them what costs less where one key seals or opens a lot. */
export type SealKey = Uint8Array | KeyObject;

/** What Node makes of a raw key itself, but without the exception that it throws and catches on the way (10 µs). */
export function prepareKey(key: SealKey): KeyObject {
  return key instanceof KeyObject ? key : createSecretKey(key);
}

/** Bytes that sealing adds. */
export const SEAL_OVERHEAD_BYTES = 16;

/** Sealed bytes do not open: altered, or of another key, nonce or place. Callers name the object in a `DamagedError`. */
export class SealBrokenError extends Error {
  override readonly name = "SealBrokenError";
}

/**
 * AES-256-GCM: ciphertext of all parts joined, then the 16-byte tag. `nonceNumber` (below 2^53) must never be used twice
 * with one key.
 */
export function seal(key: SealKey, nonceNumber: number, aad: Uint8Array, parts: readonly Uint8Array[]): Buffer {
  let length = SEAL_OVERHEAD_BYTES;
  for (const part of parts) length += part.length;
  const sealed = Buffer.allocUnsafeSlow(length);
  sealInto(sealed, 0, key, nonceNumber, aad, parts);
  return sealed;
}

/** As `seal`, written to `target` from `at`; gives the end. */
export function sealInto(
  target: Buffer,
  at: number,
  key: SealKey,
  nonceNumber: number,
  aad: Uint8Array,
  parts: readonly Uint8Array[],
): number {
  const cipher = createCipheriv("aes-256-gcm", prepareKey(key), nonceBytes(nonceNumber), {
    authTagLength: SEAL_OVERHEAD_BYTES,
  });
  cipher.setAAD(aad);
  for (const part of parts) {
    const ciphertext = cipher.update(part);
    at += ciphertext.copy(target, at);
    // Freed at once: large pieces would otherwise pile up until the garbage collector comes by.
    freeMemory(ciphertext);
  }
  cipher.final();
  return at + cipher.getAuthTag().copy(target, at);
}

/** Undoes `seal`. Throws `SealBrokenError`. */
export function open(key: SealKey, nonceNumber: number, aad: Uint8Array, sealed: Uint8Array): Buffer {
  if (sealed.length < SEAL_OVERHEAD_BYTES) throw new SealBrokenError("shorter than its seal");
  const decipher = createDecipheriv("aes-256-gcm", prepareKey(key), nonceBytes(nonceNumber), {
    authTagLength: SEAL_OVERHEAD_BYTES,
  });
  decipher.setAAD(aad);
  const tagAt = sealed.length - SEAL_OVERHEAD_BYTES;
  decipher.setAuthTag(sealed.subarray(tagAt));
  const opened = decipher.update(sealed.subarray(0, tagAt));
  try {
    decipher.final();
  } catch {
    throw new SealBrokenError("its seal does not hold: the bytes were altered, or belong elsewhere");
  }
  return opened;
}

function nonceBytes(number: number): Buffer {
  if (!Number.isSafeInteger(number) || number < 0) throw new RangeError(`no nonce: ${number}`);
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(Math.floor(number / 2 ** 32), 4);
  nonce.writeUInt32BE(number % 2 ** 32, 8);
  return nonce;
}
