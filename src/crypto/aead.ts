import { createCipheriv, createDecipheriv, createSecretKey, KeyObject } from "node:crypto";
import { freeMemory } from "../platform/free-memory.ts";
import { allocateNative, isExported, lazy, libcFunction, type NativeMemory } from "../platform/libc.ts";

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
    throw sealBroken();
  }
  return opened;
}

/**
 * As `open`, in the very memory where the sealed bytes lie, from `start` to `end`: what they held is there afterwards, from
 * `start` on, and the length of it is given back. Where it throws, that part of the memory holds nothing of use.
 *
 * Node's own decipher makes new memory for each call, which costs more to get than the opening does. The library inside the
 * Node executable is called directly instead; where it is not exported, Node's functions do the same work.
 */
export function openInPlace(
  key: SealKey,
  nonceNumber: number,
  aad: Uint8Array,
  memory: NativeMemory,
  start: number,
  end: number,
): number {
  const opened = isExported(EVP) ? openDirectly : openByNode;
  return opened(key, nonceNumber, aad, memory, start, end);
}

/** What `openInPlace` does where the library is out of reach; exported for its test. */
export const openByNode: typeof openInPlace = (key, nonceNumber, aad, memory, start, end) =>
  open(key, nonceNumber, aad, memory.bytes.subarray(start, end)).copy(memory.bytes, start);

/** openssl/evp.h; see EVP_EncryptInit(3ssl), "AEAD interface". Each gives 1 where it worked. */
const EVP = {
  newContext: libcFunction("EVP_CIPHER_CTX_new", "uintptr_t", []),
  aes256Gcm: libcFunction("EVP_aes_256_gcm", "uintptr_t", []),
  init: libcFunction("EVP_DecryptInit_ex", "int", ["uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t"]),
  update: libcFunction("EVP_DecryptUpdate", "int", ["uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t", "int"]),
  control: libcFunction("EVP_CIPHER_CTX_ctrl", "int", ["uintptr_t", "int", "int", "uintptr_t"]),
  final: libcFunction("EVP_DecryptFinal_ex", "int", ["uintptr_t", "uintptr_t", "uintptr_t"]),
  clearError: libcFunction("ERR_clear_error", "int", []),
};

const EVP_CTRL_AEAD_SET_TAG = 0x11;

/** Where the parts of a call lie in `parameters`. */
const KEY_AT = 0;
const NONCE_AT = 32;
const TAG_AT = 48;
const LENGTH_AT = 64;
const REST_AT = 72;
const AAD_AT = 88;
const LONGEST_AAD_BYTES = 256;

const decryption = lazy(() => {
  const context = EVP.newContext()();
  if (context === 0) throw new Error("out of memory for a cipher");
  // The cipher once, and then a key and a nonce each time: looking it up costs more than a small piece does.
  requireOne(EVP.init()(context, EVP.aes256Gcm()(), 0, 0, 0));
  return { context, parameters: allocateNative(AAD_AT + LONGEST_AAD_BYTES) };
});

const openDirectly: typeof openInPlace = (key, nonceNumber, aad, memory, start, end) => {
  const length = end - start - SEAL_OVERHEAD_BYTES;
  if (length < 0) throw new SealBrokenError("shorter than its seal");
  const keyBytes = key instanceof KeyObject ? key.export() : key;
  if (keyBytes.length !== 32) throw new RangeError(`a key has 32 bytes, not ${keyBytes.length}`);
  if (aad.length > LONGEST_AAD_BYTES) throw new RangeError(`${aad.length} bytes are too many to be bound to`);
  if (start < 0 || end > memory.bytes.length) throw new RangeError("that is not within the memory");
  const { context, parameters } = decryption();
  const { address, bytes } = parameters;
  bytes.set(keyBytes, KEY_AT);
  bytes.set(nonceBytes(nonceNumber), NONCE_AT);
  bytes.set(memory.bytes.subarray(start + length, end), TAG_AT);
  bytes.set(aad, AAD_AT);
  const sealed = memory.address + start;
  requireOne(EVP.init()(context, 0, 0, address + KEY_AT, address + NONCE_AT));
  bytes.fill(0, KEY_AT, KEY_AT + keyBytes.length);
  if (aad.length > 0) requireOne(EVP.update()(context, 0, address + LENGTH_AT, address + AAD_AT, aad.length));
  if (length > 0) requireOne(EVP.update()(context, sealed, address + LENGTH_AT, sealed, length));
  requireOne(EVP.control()(context, EVP_CTRL_AEAD_SET_TAG, SEAL_OVERHEAD_BYTES, address + TAG_AT));
  if (EVP.final()(context, address + REST_AT, address + LENGTH_AT) === 1) return length;
  // Node would find what is left of it, and take it for an error of another call.
  EVP.clearError()();
  throw sealBroken();
};

function requireOne(result: number): void {
  if (result !== 1) throw new Error("the cipher refused to work");
}

function sealBroken(): SealBrokenError {
  return new SealBrokenError("its seal does not hold: the bytes were altered, or belong elsewhere");
}

function nonceBytes(number: number): Buffer {
  if (!Number.isSafeInteger(number) || number < 0) throw new RangeError(`no nonce: ${number}`);
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(Math.floor(number / 2 ** 32), 4);
  nonce.writeUInt32BE(number % 2 ** 32, 8);
  return nonce;
}
