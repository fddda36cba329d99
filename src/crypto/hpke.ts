/**
 * HPKE (RFC 9180), base mode, export only: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
 *
 * Whoever knows a public key agrees on a secret with the holder of the private key by sending 32 bytes (`enc`).
 */
import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
} from "node:crypto";
import type { KeyObject } from "node:crypto";
import { SealBrokenError } from "./aead.ts";

/** X25519, both raw, 32 bytes. */
export interface KeyPair {
  readonly publicKey: Buffer;
  readonly privateKey: Buffer;
}

export interface ExportContext {
  /** Secret of `length` bytes (at most 8,160), the same on both sides; each label has its own. */
  export(label: string, length: number): Buffer;
}

export interface Encapsulation extends ExportContext {
  /** 32 bytes to send along: the public half of a key that was made for this and is forgotten. */
  readonly enc: Buffer;
}

export function generateKeyPair(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync("x25519");
  return { publicKey: rawPublicKey(publicKey), privateKey: rawPrivateKey(privateKey) };
}

/** The public key of a private one. */
export function publicKeyOf(privateKey: Uint8Array): Buffer {
  return ownKeys(privateKey).rawPublic;
}

/** A fresh secret for the holder of `publicKey`'s private half. Throws `SealBrokenError` for a public key that is none. */
export function encapsulate(publicKey: Uint8Array, info: Uint8Array): Encapsulation {
  const ephemeral = generateKeyPairSync("x25519");
  const enc = rawPublicKey(ephemeral.publicKey);
  const shared = sharedSecret(ephemeral.privateKey, importPublicKey(publicKey));
  return { enc, export: exporter(kemSecret(shared, enc, publicKey), info) };
}

/** The secret that `encapsulate` made with `enc`. Throws `SealBrokenError` where `enc` is no key. */
export function decapsulate(privateKey: Uint8Array, enc: Uint8Array, info: Uint8Array): ExportContext {
  const own = ownKeys(privateKey);
  const shared = sharedSecret(own.key, importPublicKey(enc));
  return { export: exporter(kemSecret(shared, enc, own.rawPublic), info) };
}

const KEM_SUITE = Buffer.concat([Buffer.from("KEM"), Buffer.from([0x00, 0x20])]);
const HPKE_SUITE = Buffer.concat([Buffer.from("HPKE"), Buffer.from([0x00, 0x20, 0x00, 0x01, 0x00, 0x02])]);
const VERSION = Buffer.from("HPKE-v1");
const EMPTY = Buffer.alloc(0);
const PSK_ID_HASH = labeledExtract(HPKE_SUITE, EMPTY, "psk_id_hash", EMPTY);

/** RFC 9180, 4.1, ExtractAndExpand. */
function kemSecret(shared: Buffer, enc: Uint8Array, recipient: Uint8Array): Buffer {
  const prk = labeledExtract(KEM_SUITE, EMPTY, "eae_prk", shared);
  return labeledExpand(KEM_SUITE, prk, "shared_secret", Buffer.concat([enc, recipient]), 32);
}

/** RFC 9180, 5.1 and 5.3, without the keys of messages, which nothing here uses. */
function exporter(secretOfKem: Buffer, info: Uint8Array): ExportContext["export"] {
  const infoHash = labeledExtract(HPKE_SUITE, EMPTY, "info_hash", info);
  const context = Buffer.concat([Buffer.from([0x00]), PSK_ID_HASH, infoHash]);
  const secret = labeledExtract(HPKE_SUITE, secretOfKem, "secret", EMPTY);
  const exporterSecret = labeledExpand(HPKE_SUITE, secret, "exp", context, 32);
  return (label, length) => labeledExpand(HPKE_SUITE, exporterSecret, "sec", Buffer.from(label, "utf8"), length);
}

function labeledExtract(suite: Buffer, salt: Uint8Array, label: string, material: Uint8Array): Buffer {
  return hmac(salt, Buffer.concat([VERSION, suite, Buffer.from(label), material]));
}

function labeledExpand(suite: Buffer, prk: Buffer, label: string, info: Uint8Array, length: number): Buffer {
  if (length > 255 * 32) throw new RangeError(`HKDF gives at most 8160 bytes, not ${length}`);
  const lengthBytes = Buffer.from([length >> 8, length & 0xff]);
  const labeledInfo = Buffer.concat([lengthBytes, VERSION, suite, Buffer.from(label), info]);
  const blocks: Buffer[] = [];
  let previous: Buffer = EMPTY;
  for (let counter = 1; blocks.length * 32 < length; counter++) {
    previous = hmac(prk, Buffer.concat([previous, labeledInfo, Buffer.from([counter])]));
    blocks.push(previous);
  }
  return blocks.length === 1 && length === 32 ? blocks[0] : Buffer.concat(blocks).subarray(0, length);
}

function hmac(key: Uint8Array, message: Buffer): Buffer {
  // A KeyObject first: given the bytes themselves, createHmac takes several times as long.
  return createHmac("sha256", createSecretKey(key)).update(message).digest();
}

function sharedSecret(privateKey: KeyObject, publicKey: KeyObject): Buffer {
  try {
    // Refuses a public key of small order, which would fix the secret (RFC 9180, 7.1.4): OpenSSL checks it, a test too.
    return diffieHellman({ privateKey, publicKey });
  } catch (cause) {
    throw new SealBrokenError("its key exchange fails: the public key is not a usable one", { cause });
  }
}

// RFC 8410: what comes before the 32 bytes of a key in DER.
const SPKI_PREFIX = Buffer.from("302a300506032b656e032100", "hex");
const PKCS8_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");

function importPublicKey(raw: Uint8Array): KeyObject {
  if (raw.length !== 32) throw new SealBrokenError(`an X25519 public key has 32 bytes, not ${raw.length}`);
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: "der", type: "spki" });
}

interface OwnKeys {
  readonly key: KeyObject;
  readonly rawPublic: Buffer;
}

/** By identity of the array: a process holds one or two private keys and opens thousands of packs with them. */
const ownKeysOf = new WeakMap<Uint8Array, OwnKeys>();

function ownKeys(privateKey: Uint8Array): OwnKeys {
  const known = ownKeysOf.get(privateKey);
  if (known !== undefined) return known;
  if (privateKey.length !== 32)
    throw new SealBrokenError(`an X25519 private key has 32 bytes, not ${privateKey.length}`);
  const der = Buffer.concat([PKCS8_PREFIX, privateKey]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const keys = { key, rawPublic: rawPublicKey(createPublicKey(key)) };
  ownKeysOf.set(privateKey, keys);
  return keys;
}

function rawPublicKey(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: "der", type: "spki" }).subarray(SPKI_PREFIX.length));
}

function rawPrivateKey(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: "der", type: "pkcs8" }).subarray(PKCS8_PREFIX.length));
}
