/** The secrets of one repository (docs/format.md, "Keys"). */
import { randomBytes } from "node:crypto";
import { DamagedError } from "../errors.ts";
import { generateKeyPair, publicKeyOf } from "./hpke.ts";
import { deriveKey } from "./keyed-hash.ts";

export interface KeyRing {
  /** 16 bytes. */
  readonly repositoryId: Buffer;
  /** X25519, raw, 32 bytes: seals. */
  readonly publicKey: Buffer;
  /** X25519, raw, 32 bytes: opens. Undefined in a write-only ring. */
  readonly privateKey: Buffer | undefined;
  /** 32 bytes that blob ids and chunking come from. Undefined in a keeper's ring, which can write no new blobs. */
  readonly writerSecret: Buffer | undefined;
  /** 32 bytes: opens the blob lists of directories and indexes. */
  readonly indexKey: Buffer;
}

/** 32 bytes each; what they are for stands in docs/format.md. */
export interface DerivedKeys {
  readonly data: Buffer;
  readonly tree: Buffer;
  readonly chunk: Buffer;
  readonly link: Buffer;
  readonly group: Buffer;
}

/** New secrets, complete. */
export function createKeyRing(repositoryId: Uint8Array): KeyRing {
  const { publicKey, privateKey } = generateKeyPair();
  const writerSecret = randomBytes(32);
  return {
    repositoryId: Buffer.from(repositoryId),
    publicKey,
    privateKey,
    writerSecret,
    indexKey: indexKeyOf(writerSecret),
  };
}

/** The same without what opens: may add, cannot read. */
export function toWriteOnly(ring: KeyRing): KeyRing {
  return { ...ring, privateKey: undefined };
}

/** The same without what names blobs: may read and rearrange, cannot make new blobs that deduplicate. */
export function toKeeper(ring: KeyRing): KeyRing {
  return { ...ring, writerSecret: undefined };
}

/** Throws a `RangeError` for a keeper's ring: ask `writerSecret` first. */
export function derivedKeys(ring: KeyRing): DerivedKeys {
  const secret = ring.writerSecret;
  if (secret === undefined) throw new RangeError("a keeper's key ring has no writer secret");
  return {
    data: deriveKey("holdfast 2026 data blob id", secret),
    tree: deriveKey("holdfast 2026 tree blob id", secret),
    chunk: deriveKey("holdfast 2026 chunking", secret),
    link: deriveKey("holdfast 2026 hard link", secret),
    group: deriveKey("holdfast 2026 snapshot group", secret),
  };
}

function indexKeyOf(writerSecret: Buffer): Buffer {
  return deriveKey("holdfast 2026 index key", writerSecret);
}

/** What stands beside the secrets in a key file. */
export interface KeyRingNotes {
  /** For people: whose key file this is. */
  readonly label?: string;
  /** ISO 8601. */
  readonly created?: string;
}

const MAXIMUM_JSON_BYTES = 64 * 1024;

export function encodeKeyRing(ring: KeyRing, notes: KeyRingNotes = {}): Buffer {
  const json = {
    repository: ring.repositoryId.toString("hex"),
    ...(ring.privateKey && { privateKey: ring.privateKey.toString("base64") }),
    publicKey: ring.publicKey.toString("base64"),
    ...(ring.writerSecret && { writerSecret: ring.writerSecret.toString("base64") }),
    indexKey: ring.indexKey.toString("base64"),
    ...notes,
  };
  return Buffer.from(`${JSON.stringify(json, undefined, 2)}\n`, "utf8");
}

/** Throws `DamagedError`; `what` names the file in its message. */
export function decodeKeyRing(bytes: Uint8Array, what = "key ring"): { ring: KeyRing; notes: KeyRingNotes } {
  const fail = (problem: string) => new DamagedError(`${what} is damaged: ${problem}`);
  if (bytes.length > MAXIMUM_JSON_BYTES) throw fail(`${bytes.length} bytes are too many`);
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8"));
  } catch {
    throw fail("not JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw fail("not a JSON object");
  const fields = json as Record<string, unknown>;

  const key = (name: string): Buffer | undefined => {
    const value = fields[name];
    if (value === undefined) return undefined;
    const decoded = typeof value === "string" ? Buffer.from(value, "base64") : undefined;
    if (decoded?.length !== 32 || decoded.toString("base64") !== value)
      throw fail(`"${name}" is not 32 bytes in base64`);
    return decoded;
  };
  const required = (name: string): Buffer => {
    const value = key(name);
    if (value === undefined) throw fail(`"${name}" is missing`);
    return value;
  };
  const text = (name: string): string | undefined => {
    const value = fields[name];
    if (value !== undefined && typeof value !== "string") throw fail(`"${name}" is not text`);
    return value;
  };

  const repository = fields["repository"];
  if (typeof repository !== "string" || !/^[0-9a-f]{32}$/.test(repository)) {
    throw fail(`"repository" is not 32 hex digits`);
  }
  const ring: KeyRing = {
    repositoryId: Buffer.from(repository, "hex"),
    publicKey: required("publicKey"),
    privateKey: key("privateKey"),
    writerSecret: key("writerSecret"),
    indexKey: required("indexKey"),
  };
  if (ring.privateKey !== undefined && !publicKeyOf(ring.privateKey).equals(ring.publicKey)) {
    throw fail("its private and public key do not belong together");
  }
  if (ring.writerSecret !== undefined && !indexKeyOf(ring.writerSecret).equals(ring.indexKey)) {
    throw fail("its writer secret and index key do not belong together");
  }
  const label = text("label");
  const created = text("created");
  return { ring, notes: { ...(label !== undefined && { label }), ...(created !== undefined && { created }) } };
}
