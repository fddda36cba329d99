/** Ed25519 signatures (RFC 8032): who made a snapshot record. */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign as nodeSign,
  verify as nodeVerify,
} from "node:crypto";
import type { KeyObject } from "node:crypto";

export const SIGNATURE_BYTES = 64;

/** A host's signing key; both halves raw, 32 bytes. The private half is RFC 8032's seed. */
export interface SigningKey {
  readonly publicKey: Buffer;
  readonly privateKey: Buffer;
}

export function generateSigningKey(): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return {
    publicKey: Buffer.from(publicKey.export({ format: "der", type: "spki" }).subarray(SPKI_PREFIX.length)),
    privateKey: Buffer.from(privateKey.export({ format: "der", type: "pkcs8" }).subarray(PKCS8_PREFIX.length)),
  };
}

/** The signing key whose private half is `seed`, 32 bytes. */
export function signingKeyFromSeed(seed: Uint8Array): SigningKey {
  const publicKey = createPublicKey(importSeed(seed)).export({ format: "der", type: "spki" });
  return { publicKey: Buffer.from(publicKey.subarray(SPKI_PREFIX.length)), privateKey: Buffer.from(seed) };
}

/** 64 bytes. */
export function sign(key: SigningKey, message: Uint8Array): Buffer {
  return nodeSign(null, message, importSeed(key.privateKey));
}

/** Whether `signature` is one of `message` by the holder of `publicKey`. Never throws: what is no key verifies nothing. */
export function verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== SIGNATURE_BYTES) return false;
  let key: KeyObject;
  try {
    key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, publicKey]), format: "der", type: "spki" });
  } catch {
    return false;
  }
  return nodeVerify(null, message, key, signature);
}

// RFC 8410: what comes before the 32 bytes of a key in DER.
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");

function importSeed(seed: Uint8Array): KeyObject {
  if (seed.length !== 32) throw new RangeError(`an Ed25519 seed has 32 bytes, not ${seed.length}`);
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: "der", type: "pkcs8" });
}
