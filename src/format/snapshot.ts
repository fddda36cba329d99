/** Snapshot records: the one thing that makes a backup exist (docs/format.md, "Snapshot record"). */
import { SealBrokenError, open as openSealed, seal } from "../crypto/aead.ts";
import { decapsulate, encapsulate } from "../crypto/hpke.ts";
import { sha256 } from "../crypto/keyed-hash.ts";
import { SIGNATURE_BYTES, sign, verify } from "../crypto/signing.ts";
import type { SigningKey } from "../crypto/signing.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { asBuffer, damaged, expectEnd, readRaw, readU32, readerOf, remainingBytes } from "./codec.ts";
import { parseJsonObject } from "./json.ts";
import type { DirectoryEntry } from "./tree.ts";
import { decodeEntry, encodeEntry } from "./tree.ts";

/** What a server may read without a key. */
export interface SnapshotOpenPart {
  /** ISO 8601, UTC, with milliseconds: the clock of whoever committed it. */
  readonly time: string;
  readonly host: string;
  /** 32 hex digits: equal for snapshots of the same host and paths. */
  readonly group: string;
  /** Id of the snapshot it was compared with. */
  readonly parent: string | null;
  readonly files: number;
  readonly directories: number;
  readonly others: number;
  /** Of all files, logical. */
  readonly sizeBytes: number;
  /** Raw bytes of blobs that were new. */
  readonly addedBytes: number;
  /** Bytes of frame records that were new. */
  readonly storedBytes: number;
  /** False where a source could not be read. */
  readonly complete: boolean;
}

/** What only the holder of the private key reads. */
export interface SnapshotSealedPart {
  readonly paths: readonly RawPath[];
  readonly tags: readonly string[];
  /** The top directory, standing for `/`; its name is empty. */
  readonly root: DirectoryEntry;
  readonly user: string;
  /** Name and version of what wrote it. */
  readonly program: string;
  readonly excludes: readonly string[];
  readonly statistics: Readonly<Record<string, number>>;
}

export interface SnapshotToEncode {
  readonly repositoryId: Uint8Array;
  /** The repository's. */
  readonly publicKey: Uint8Array;
  /** The host's. */
  readonly signingKey: SigningKey;
  readonly open: SnapshotOpenPart;
  /** From `encodeFrameSet`. */
  readonly frameSet: Uint8Array;
  readonly sealed: SnapshotSealedPart;
}

export interface DecodedSnapshot {
  readonly repositoryId: Buffer;
  readonly open: SnapshotOpenPart;
  /** For `decodeFrameSet`; a view. */
  readonly frameSetBytes: Buffer;
  /** For `openSealedPart`; a view. */
  readonly sealedBytes: Buffer;
  /** The open part as it stands, which the sealed part is bound to; a view. */
  readonly openBytes: Buffer;
  /** The host's Ed25519 public key. */
  readonly signer: Buffer;
  /** Whether `signer` signed the record as it is. Costs about a tenth of a millisecond. */
  signatureValid(): boolean;
}

const MAGIC = Buffer.from("HFSN\x01\0\0\0", "latin1");
const SIGNATURE_CONTEXT = Buffer.from("holdfast 2026 snapshot");
const MAXIMUM_OPEN_BYTES = 1024 * 1024;
const MAXIMUM_SEALED_BYTES = 64 * 1024 * 1024;

/** The record's bytes; their SHA-256 in hex is the snapshot's id. */
export function encodeSnapshot(snapshot: SnapshotToEncode): Buffer {
  const { repositoryId, frameSet } = snapshot;
  const open = encodeOpenPart(snapshot.open);
  const context = encapsulate(snapshot.publicKey, snapshotInfo(repositoryId));
  const aad = sealAad(repositoryId, open, frameSet);
  const sealed = seal(context.export("record", 32), 0, aad, [encodeSealedPart(snapshot.sealed)]);
  const signed = Buffer.concat([
    MAGIC,
    repositoryId,
    u32(open.length),
    open,
    u32(frameSet.length),
    frameSet,
    u32(32 + sealed.length),
    context.enc,
    sealed,
  ]);
  const signature = sign(snapshot.signingKey, signedMessage(signed));
  return Buffer.concat([signed, snapshot.signingKey.publicKey, signature]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function snapshotInfo(repositoryId: Uint8Array): Buffer {
  return Buffer.concat([SIGNATURE_CONTEXT, repositoryId]);
}

function sealAad(repositoryId: Uint8Array, open: Uint8Array, frameSet: Uint8Array): Buffer {
  return sha256(MAGIC, repositoryId, open, frameSet);
}

function signedMessage(signed: Uint8Array): Buffer {
  return Buffer.concat([SIGNATURE_CONTEXT, sha256(signed)]);
}

function encodeOpenPart(open: SnapshotOpenPart): Buffer {
  const json = {
    time: open.time,
    host: open.host,
    group: open.group,
    parent: open.parent,
    files: open.files,
    directories: open.directories,
    others: open.others,
    sizeBytes: open.sizeBytes,
    addedBytes: open.addedBytes,
    storedBytes: open.storedBytes,
    complete: open.complete,
  };
  return Buffer.from(JSON.stringify(json), "utf8");
}

function encodeSealedPart(sealed: SnapshotSealedPart): Buffer {
  const json = {
    paths: sealed.paths,
    tags: sealed.tags,
    root: encodeEntry(sealed.root).toString("base64"),
    user: sealed.user,
    program: sealed.program,
    excludes: sealed.excludes,
    statistics: sealed.statistics,
  };
  return Buffer.from(JSON.stringify(json), "utf8");
}

/** What can be read of a record without a key. Throws `DamagedError`, naming it by `what`. */
export function decodeSnapshotOpen(bytes: Uint8Array, what = "snapshot"): DecodedSnapshot {
  const input = readerOf(bytes, what);
  if (!readRaw(input, 8, "header").equals(MAGIC)) throw damaged(what, "it does not start as a snapshot does");
  const repositoryId = readRaw(input, 16, "repository id");
  const openBytes = readRaw(input, readU32(input, "length of the open part"), "open part");
  const frameSetBytes = readRaw(input, readU32(input, "length of the frame set"), "frame set");
  const sealedBytes = readRaw(input, readU32(input, "length of the sealed part"), "sealed part");
  const signed = asBuffer(bytes).subarray(0, input.at);
  const signer = readRaw(input, 32, "public key");
  const signature = readRaw(input, SIGNATURE_BYTES, "signature");
  expectEnd(input);
  return {
    repositoryId,
    open: decodeOpenPart(openBytes, what),
    frameSetBytes,
    sealedBytes,
    openBytes,
    signer,
    signatureValid: () => verify(signer, signedMessage(signed), signature),
  };
}

function decodeOpenPart(bytes: Buffer, what: string): SnapshotOpenPart {
  const fields = parseJsonObject(bytes, what, MAXIMUM_OPEN_BYTES);
  return {
    time: fields.time("time"),
    host: fields.text("host"),
    group: fields.hex("group", 32),
    parent: fields.all["parent"] === null ? null : fields.hex("parent", 64),
    files: fields.count("files"),
    directories: fields.count("directories"),
    others: fields.count("others"),
    sizeBytes: fields.count("sizeBytes"),
    addedBytes: fields.count("addedBytes"),
    storedBytes: fields.count("storedBytes"),
    complete: fields.boolean("complete"),
  };
}

/** Opens the sealed part with the repository's private key. Throws `DamagedError`, naming the snapshot by `what`. */
export function openSealedPart(
  privateKey: Uint8Array,
  snapshot: DecodedSnapshot,
  what = "snapshot",
): SnapshotSealedPart {
  const { sealedBytes, repositoryId, openBytes, frameSetBytes } = snapshot;
  const input = readerOf(sealedBytes, what);
  const origin = readRaw(input, 32, "sealed part");
  const sealed = readRaw(input, remainingBytes(input), "sealed part");
  let plain: Buffer;
  try {
    const key = decapsulate(privateKey, origin, snapshotInfo(repositoryId)).export("record", 32);
    plain = openSealed(key, 0, sealAad(repositoryId, openBytes, frameSetBytes), sealed);
  } catch (cause) {
    if (!(cause instanceof SealBrokenError)) throw cause;
    throw damaged(what, cause.message, cause);
  }
  const fields = parseJsonObject(plain, what, MAXIMUM_SEALED_BYTES);
  const root = decodeEntry(fields.base64("root"), 0, `top directory of ${what}`);
  if (root.type !== "directory" || root.name !== "") throw fields.fail("root", "is not a top directory");
  return {
    paths: fields.rawTexts("paths") as RawPath[],
    tags: fields.texts("tags"),
    root,
    user: fields.text("user"),
    program: fields.text("program"),
    excludes: fields.texts("excludes"),
    statistics: fields.numbers("statistics"),
  };
}
