/**
 * A separate reader of Holdfast's repositories, written from docs/format.md alone: it imports nothing of the program.
 * It proves that the page is enough to read a backup with, and it is short enough to be copied into another language.
 *
 *   node test/minimal-reader/minimal-reader.ts REPOSITORY SNAPSHOT TARGET   (HOLDFAST_PASSWORD holds password or identity)
 */
import { createDecipheriv, createHash, createHmac, createPublicKey, verify } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { Blake3Hasher, blake3 } from "@napi-rs/blake-hash";
import { openKeyFile, x25519 } from "./key-file.ts";
import type { KeyRing } from "./key-file.ts";

/** Fixed-width integers, varints and byte strings, as in "Conventions". */
class Input {
  at = 0;
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  raw(length: number): Buffer {
    if (this.at + length > this.bytes.length) throw new Error("cut off");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  u8(): number {
    return this.raw(1)[0];
  }

  u32(): number {
    return this.raw(4).readUInt32LE();
  }

  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  varints(count: number): number[] {
    return Array.from({ length: count }, () => this.varint());
  }

  byteString(): Buffer {
    return this.raw(this.varint());
  }

  rest(): Buffer {
    return this.raw(this.bytes.length - this.at);
  }
}

function expect(condition: boolean, what: string): void {
  if (!condition) throw new Error(`not as docs/format.md says: ${what}`);
}

function sha256(...parts: Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

function keyed(key: Buffer, bytes: Buffer): Buffer {
  return Blake3Hasher.newKeyed(key).update(bytes).digestBuffer();
}

function unseal(key: Buffer, nonce: number, aad: Buffer, sealed: Buffer): Buffer {
  const iv = Buffer.alloc(12);
  iv.writeUIntBE(nonce, 6, 6);
  const decipher = createDecipheriv("aes-256-gcm", key, iv, { authTagLength: 16 }).setAAD(aad);
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
}

/** HPKE's exported secret, for the holder of the private key (RFC 9180, 4.1, 5.1 and 5.3). */
function hpkeExport(privateKey: Buffer, enc: Buffer, info: Buffer, label: string): Buffer {
  const kem = Buffer.from("KEM\x00\x20", "latin1");
  const hpke = Buffer.from("HPKE\x00\x20\x00\x01\x00\x02", "latin1");
  const hmac = (key: Buffer, ...parts: Uint8Array[]) => createHmac("sha256", key).update(Buffer.concat(parts)).digest();
  const text = (value: string) => Buffer.from(value, "latin1");
  const none = Buffer.alloc(0);
  const labeledExtract = (suite: Buffer, salt: Buffer, name: string, key: Buffer) => {
    return hmac(salt, text("HPKE-v1"), suite, text(name), key);
  };
  const labeledExpand = (suite: Buffer, key: Buffer, name: string, context: Buffer) => {
    return hmac(key, text("\x00\x20HPKE-v1"), suite, text(name), context, text("\x01"));
  };
  const { secret, publicKey } = x25519(privateKey, enc);
  const shared = labeledExpand(
    kem,
    labeledExtract(kem, none, "eae_prk", secret),
    "shared_secret",
    Buffer.concat([enc, publicKey]),
  );
  const context = Buffer.concat([
    text("\x00"),
    labeledExtract(hpke, none, "psk_id_hash", none),
    labeledExtract(hpke, none, "info_hash", info),
  ]);
  const exporter = labeledExpand(hpke, labeledExtract(hpke, shared, "secret", none), "exp", context);
  return labeledExpand(hpke, exporter, "sec", text(label));
}

interface FramePlace {
  readonly pack: string;
  readonly offset: number;
  readonly length: number;
}

interface BlobPlace {
  /** Key of `frames`. */
  readonly frame: string;
  readonly place: number;
}

export interface Repository {
  readonly folder: string;
  readonly ring: KeyRing;
  readonly frames: Map<string, FramePlace>;
  /** By the first 16 bytes of the id in hex. */
  readonly blobs: Map<string, BlobPlace>;
  readonly openFrames: Map<string, Buffer[]>;
}

/** Opens a repository by its indexes, or, where `fromPacks`, by the directories of its packs. */
export function openRepository(folder: string, ring: KeyRing, fromPacks = false): Repository {
  const config = JSON.parse(readFileSync(join(folder, "config"), "utf8")) as { format: number; id: string };
  expect(config.format === 1 && config.id === ring.repository.toString("hex"), "config");
  const repository = { folder, ring, frames: new Map(), blobs: new Map(), openFrames: new Map() };
  if (fromPacks) {
    for (const name of packNames(folder)) readPackDirectory(repository, name);
  } else {
    for (const name of readdirSync(join(folder, "index"))) {
      if (/^[0-9a-f]{64}$/.test(name)) readIndex(repository, readNamed(join(folder, "index", name), name));
    }
  }
  return repository;
}

/** Any key file that the secret (a passphrase or an identity) opens. */
export function openKeys(folder: string, secret: string): KeyRing {
  for (const name of readdirSync(join(folder, "keys"))) {
    const file = readFileSync(join(folder, "keys", name));
    expect(sha256(file).toString("hex").startsWith(name), "name of a key file");
    const ring = openKeyFile(file, secret);
    if (ring !== undefined) return ring;
  }
  throw new Error("no key file opens");
}

function readNamed(path: string, hash: string): Buffer {
  const bytes = readFileSync(path);
  expect(sha256(bytes).toString("hex") === hash, `the name of ${path} is its SHA-256`);
  return bytes;
}

function packNames(folder: string): string[] {
  const folders = readdirSync(join(folder, "packs"));
  return folders.flatMap((xx) => readdirSync(join(folder, "packs", xx))).filter((name) => /^[0-9a-f]{64}$/.test(name));
}

function frameKey(origin: Buffer, number: number): string {
  return `${origin.toString("hex")}/${number}`;
}

interface FrameOfPack {
  readonly origin: Buffer;
  readonly number: number;
}

/** One frame as directories and indexes list it. */
function readFramePlace(repository: Repository, input: Input, origins: Buffer[], pack: string): FrameOfPack {
  expect([1, 2].includes(input.u8()), "kind of a frame");
  const origin = origins[input.varint()];
  const [number, offset, length] = input.varints(3);
  input.raw(16);
  repository.frames.set(frameKey(origin, number), { pack, offset, length });
  return { origin, number };
}

function readIndex(repository: Repository, bytes: Buffer): void {
  const { ring } = repository;
  const input = new Input(bytes);
  expect(input.raw(8).toString("hex") === "4846495801000000", "start of an index");
  expect(input.raw(16).equals(ring.repository), "repository of an index");
  const origins = Array.from({ length: input.varint() }, () => input.raw(32));
  for (let packs = input.varint(); packs > 0; packs--) {
    const name = input.raw(32).toString("hex");
    input.varint();
    for (let frames = input.varint(); frames > 0; frames--) readFramePlace(repository, input, origins, name);
  }
  for (let sections = input.varint(); sections > 0; sections--) {
    const frames = Array.from({ length: input.varint() }, () => frameKey(origins[input.varint()], input.varint()));
    const count = input.varint();
    const salt = input.raw(32);
    const sealed = new Input(input.byteString());
    const segments = Math.ceil((count * 26) / 2 ** 20);
    const aad = Buffer.concat([ring.repository, Buffer.alloc(4)]);
    aad.writeUInt32LE(segments, 16);
    const columns = Buffer.concat(
      Array.from({ length: segments }, (_, segment) => {
        const length = Math.min(2 ** 20, count * 26 - segment * 2 ** 20);
        return unseal(keyed(ring.indexKey, salt), segment, aad, sealed.raw(length + 16));
      }),
    );
    for (let blob = 0; blob < count; blob++) {
      const frame = frames[columns.readUInt32LE(count * 16 + blob * 4)];
      const place = columns.readUInt16LE(count * 20 + blob * 2);
      repository.blobs.set(columns.toString("hex", blob * 16, blob * 16 + 16), { frame, place });
    }
  }
  expect(input.at === bytes.length, "end of an index");
}

function packPath(repository: Repository, name: string): string {
  return join(repository.folder, "packs", name.slice(0, 2), name);
}

function readPackDirectory(repository: Repository, name: string): void {
  const { ring } = repository;
  const pack = readNamed(packPath(repository, name), name);
  expect(pack.toString("hex", 0, 8) === "4846504b01000000" && pack.subarray(8, 24).equals(ring.repository), "header");
  const trailer = new Input(pack.subarray(-32));
  const length = trailer.u32();
  const directory = pack.subarray(-32 - length, -32);
  expect(blake3(directory).subarray(0, 16).equals(trailer.raw(16)), "checksum of a directory");
  expect(trailer.rest().toString("hex") === "000000004846504b454e4401", "end of a pack");
  const input = new Input(directory);
  const origins = Array.from({ length: input.varint() }, () => input.raw(32));
  for (let frames = input.varint(); frames > 0; frames--) {
    const { origin, number } = readFramePlace(repository, input, origins, name);
    const aad = Buffer.concat([ring.repository, origin, Buffer.alloc(4)]);
    aad.writeUInt32LE(number, 48);
    const list = new Input(unseal(keyed(ring.indexKey, origin), number, aad, input.byteString()));
    const count = list.varint();
    list.varints(count);
    for (let place = 0; place < count; place++) {
      repository.blobs.set(list.raw(32).toString("hex", 0, 16), { frame: frameKey(origin, number), place });
    }
  }
  expect(input.at === directory.length, "end of a directory");
}

/** All blobs of a frame, in order. */
function readFrame(repository: Repository, name: string): Buffer[] {
  const known = repository.openFrames.get(name);
  if (known !== undefined) return known;
  const { ring } = repository;
  const { pack, offset, length } = repository.frames.get(name)!;
  const record = readFileSync(packPath(repository, pack)).subarray(offset, offset + length);
  const header = new Input(record.subarray(0, 48));
  expect(header.u32() === 0x01464648, "start of a frame");
  header.raw(4);
  const number = header.u32();
  expect(header.u32() === length - 48, "length of a frame");
  const origin = header.raw(32);
  expect(frameKey(origin, number) === name, "name of a frame");
  const info = Buffer.concat([Buffer.from("holdfast 2026 pack"), ring.repository]);
  const key = hpkeExport(ring.privateKey, origin, info, "frames");
  const aad = Buffer.concat([ring.repository, record.subarray(0, 48)]);
  const plain = new Input(unseal(key, number, aad, record.subarray(48)));
  const compression = plain.u8();
  const rawLength = plain.u32();
  const raw = compression === 1 ? zstdDecompressSync(plain.rest()) : plain.rest();
  expect(raw.length === rawLength, "raw length of a frame");
  const payload = new Input(raw);
  const blobs = payload.varints(payload.varint()).map((size) => payload.raw(size));
  expect(payload.at === raw.length, "end of a frame");
  // A few frames only: neighbouring blobs lie in the same one.
  if (repository.openFrames.size > 32) repository.openFrames.clear();
  repository.openFrames.set(name, blobs);
  return blobs;
}

function readBlob(repository: Repository, id: Buffer, kind: "data" | "tree"): Buffer {
  const found = repository.blobs.get(id.toString("hex", 0, 16));
  if (found === undefined) throw new Error(`blob ${id.toString("hex")} is in no frame`);
  const bytes = readFrame(repository, found.frame)[found.place];
  const { writerSecret } = repository.ring;
  if (writerSecret !== undefined) {
    const key = Blake3Hasher.deriveKey(`holdfast 2026 ${kind} blob id`, writerSecret);
    expect(keyed(key, bytes).equals(id), "id of a blob");
  }
  return bytes;
}

export interface Snapshot {
  readonly id: string;
  readonly open: Record<string, unknown>;
  readonly sealed: Record<string, unknown>;
  readonly root: Entry;
  /** Names of all frames that it needs. */
  readonly frameSet: ReadonlySet<string>;
}

export function readSnapshot(repository: Repository, id: string): Snapshot {
  const { ring } = repository;
  const bytes = readNamed(join(repository.folder, "snapshots", id), id);
  const input = new Input(bytes);
  const magic = input.raw(8);
  expect(magic.toString("hex") === "4846534e01000000", "start of a snapshot");
  expect(input.raw(16).equals(ring.repository), "repository of a snapshot");
  const open = input.raw(input.u32());
  const frameSet = input.raw(input.u32());
  const sealedPart = new Input(input.raw(input.u32()));
  const message = Buffer.concat([Buffer.from("holdfast 2026 snapshot"), sha256(bytes.subarray(0, input.at))]);
  const x = input.raw(32).toString("base64url");
  const signer = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  expect(verify(null, message, signer, input.raw(64)) && input.at === bytes.length, "signature of a snapshot");

  const info = Buffer.concat([Buffer.from("holdfast 2026 snapshot"), ring.repository]);
  const key = hpkeExport(ring.privateKey, sealedPart.raw(32), info, "record");
  const aad = sha256(magic, ring.repository, open, frameSet);
  const sealed = JSON.parse(unseal(key, 0, aad, sealedPart.rest()).toString("utf8")) as Record<string, unknown>;
  return {
    id,
    open: JSON.parse(open.toString("utf8")) as Record<string, unknown>,
    sealed,
    root: readEntry(new Input(Buffer.from(String(sealed["root"]), "base64"))),
    frameSet: readFrameSet(new Input(frameSet)),
  };
}

function readFrameSet(input: Input): Set<string> {
  const names = new Set<string>();
  for (let origins = input.varint(); origins > 0; origins--) {
    const origin = input.raw(32);
    let number = 0;
    for (let ranges = input.varint(); ranges > 0; ranges--) {
      number += input.varint();
      for (let count = input.varint(); count > 0; count--) names.add(frameKey(origin, number++));
    }
  }
  return names;
}

const TYPES = ["", "file", "directory", "symlink", "fifo", "socket", "char", "block"];

export interface Entry {
  readonly type: string;
  readonly name: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly user: string;
  readonly group: string;
  readonly mtimeSeconds: bigint;
  readonly mtimeNanoseconds: number;
  readonly sizeBytes: number;
  readonly blobs: readonly { id: Buffer; length: number }[];
  readonly listed: boolean;
  readonly tree: Buffer | undefined;
  readonly target: Buffer | undefined;
  readonly device: readonly number[];
  readonly xattrs: readonly { name: Buffer; value: Buffer }[];
  readonly hardLink: string | undefined;
  readonly holes: readonly { offset: number; length: number }[];
  readonly inodeFlags: number;
}

function readEntry(outer: Input): Entry {
  const input = new Input(outer.byteString());
  const type = TYPES[input.u8()];
  const flags = input.varint();
  const [mode, uid, gid] = input.varints(3);
  const mtimeSeconds = input.raw(8).readBigInt64LE();
  const mtimeNanoseconds = input.u32();
  const name = input.byteString();
  const [user, group] = [input.byteString().toString("utf8"), input.byteString().toString("utf8")];
  const sizeBytes = type === "file" ? input.varint() : 0;
  const blobs = type === "file" ? readBlobList(input) : [];
  const tree = type === "directory" ? input.raw(32) : undefined;
  const target = type === "symlink" ? input.byteString() : undefined;
  const device = type === "char" || type === "block" ? input.varints(2) : [];
  const list = <T>(flag: number, read: () => T) => {
    return (flags & flag) === 0 ? [] : Array.from({ length: input.varint() }, read);
  };
  const xattrs = list(1, () => ({ name: input.byteString(), value: input.byteString() }));
  const hardLink = flags & 2 ? input.raw(16).toString("hex") : undefined;
  const holes = list(4, () => ({ offset: input.varint(), length: input.varint() }));
  const inodeFlags = flags & 8 ? input.varint() : 0;
  expect(input.at === input.bytes.length, "end of an entry");
  const times = { mtimeSeconds, mtimeNanoseconds };
  const content = { sizeBytes, blobs, listed: (flags & 16) !== 0, holes };
  return {
    type,
    name,
    mode,
    uid,
    gid,
    user,
    group,
    ...times,
    ...content,
    tree,
    target,
    device,
    xattrs,
    hardLink,
    inodeFlags,
  };
}

function readBlobList(input: Input): { id: Buffer; length: number }[] {
  return Array.from({ length: input.varint() }, () => ({ id: input.raw(32), length: input.varint() }));
}

/** The entries of a directory in order. */
export function* readTree(repository: Repository, id: Buffer): Generator<Entry> {
  const input = new Input(readBlob(repository, id, "tree"));
  const kind = input.u8();
  expect(kind === 1 || kind === 2, "kind of a tree");
  for (let count = input.varint(); count > 0; count--) {
    if (kind === 1) {
      yield readEntry(input);
    } else {
      const part = input.raw(32);
      const entries = input.varint();
      const firstName = input.byteString();
      const found = [...readTree(repository, part)];
      expect(found.length === entries && found[0].name.equals(firstName), "part of a large directory");
      yield* found;
    }
  }
  expect(input.at === input.bytes.length, "end of a tree");
}

/** The content of a file, holes filled with zeros. */
export function readContent(repository: Repository, entry: Entry): Buffer {
  let blobs = entry.blobs;
  if (entry.listed) {
    blobs = entry.blobs.flatMap(({ id }) => {
      const list = new Input(readBlob(repository, id, "tree"));
      expect(list.u8() === 3, "content list");
      return readBlobList(list);
    });
  }
  const content = Buffer.alloc(entry.sizeBytes);
  const holes = [...entry.holes];
  let at = 0;
  for (const { id, length } of blobs) {
    const bytes = readBlob(repository, id, "data");
    expect(bytes.length === length, "length of a blob");
    for (let from = 0; from < length;) {
      if (holes[0]?.offset === at) at += holes.shift()!.length;
      const end = Math.min(length, from + (holes[0]?.offset ?? entry.sizeBytes) - at);
      at += bytes.copy(content, at, from, end);
      from = end;
    }
  }
  expect(at + holes.reduce((sum, hole) => sum + hole.length, 0) === entry.sizeBytes, "size of a file");
  return content;
}

/** Writes a directory's files, folders and links below `target`; what else there is is passed over. */
export function extract(repository: Repository, directory: Entry, target: Buffer): void {
  for (const entry of readTree(repository, directory.tree!)) {
    const path = Buffer.concat([target, Buffer.from("/"), entry.name]);
    if (entry.type === "file") {
      writeFileSync(path, readContent(repository, entry));
    } else if (entry.type === "directory") {
      mkdirSync(path);
      extract(repository, entry, path);
    } else if (entry.type === "symlink") {
      symlinkSync(entry.target!, path);
    }
    if (entry.type === "file" || entry.type === "directory") chmodSync(path, entry.mode);
  }
}

if (import.meta.main) {
  const [folder, id, target] = process.argv.slice(2);
  const repository = openRepository(folder, openKeys(folder, process.env["HOLDFAST_PASSWORD"] ?? ""));
  if (!existsSync(target)) mkdirSync(target);
  extract(repository, readSnapshot(repository, id).root, Buffer.from(target));
}
