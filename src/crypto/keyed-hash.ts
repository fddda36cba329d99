import { createHash } from "node:crypto";
import { Blake3Hasher, blake3 } from "@napi-rs/blake-hash";

/** BLAKE3 under one key: names blobs. */
export interface KeyedHash {
  /** 32 fresh bytes. */
  hash(data: Uint8Array): Buffer;
}

/** BLAKE3 in its keyed mode (https://github.com/BLAKE3-team/BLAKE3-specs, 2.3); `key` is 32 bytes. */
export function createKeyedHash(key: Uint8Array): KeyedHash {
  if (key.length !== 32) throw new RangeError(`a hash key has 32 bytes, not ${key.length}`);
  // One object for the life of the key: reset() keeps it, and a new object costs four times the hash of a small blob.
  const hasher = Blake3Hasher.newKeyed(Buffer.from(key));
  return {
    hash(data) {
      hasher.reset();
      // By way of a string: each buffer that the library makes itself must be seen off by the garbage collector.
      return Buffer.from(hasher.update(data).digest(), "hex");
    },
  };
}

/** BLAKE3's key derivation mode: 32 bytes. `context` is a constant of the program, never data. */
export function deriveKey(context: string, keyMaterial: Uint8Array): Buffer {
  return Blake3Hasher.deriveKey(context, keyMaterial);
}

/** The first 16 bytes of BLAKE3 over all parts joined: finds damage, proves nothing about who wrote. */
export function checksum16(...parts: Uint8Array[]): Buffer {
  if (parts.length === 1) return blake3(parts[0]).subarray(0, 16);
  const hasher = new Blake3Hasher();
  for (const part of parts) hasher.update(part);
  return hasher.digestBuffer().subarray(0, 16);
}

/** SHA-256 over all parts joined. */
export function sha256(...parts: Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** SHA-256 over all parts joined, in 64 hex digits: what `sha256sum` prints. */
export function sha256Hex(...parts: Uint8Array[]): string {
  return sha256(...parts).toString("hex");
}
