/** Every decoder of bytes from storage or from a wire, with valid inputs to start from. */
import { zstdCompressSync } from "node:zlib";
import { seal } from "../../src/crypto/aead.ts";
import { encapsulate } from "../../src/crypto/hpke.ts";
import { encryptWithPassphrase } from "../../src/crypto/age-passphrase.ts";
import { decryptKeyFile } from "../../src/crypto/key-file.ts";
import { createKeyRing, decodeKeyRing, encodeKeyRing } from "../../src/crypto/key-ring.ts";
import { createKeyedHash, sha256 } from "../../src/crypto/keyed-hash.ts";
import { generateSigningKey } from "../../src/crypto/signing.ts";
import { decodeCondemned, encodeCondemned } from "../../src/format/condemned.ts";
import { decodeConfig, encodeConfig } from "../../src/format/config.ts";
import { decodeFrameSet, encodeFrameSet } from "../../src/format/frame-set.ts";
import {
  createFrameKey,
  decodeFrameHeader,
  encodeFrameHeader,
  frameAad,
  frameBlobTable,
  openFrame,
  parseFrameBlobs,
} from "../../src/format/frame.ts";
import { decodeIndex, encodeIndex, packsOf, sealBlobSection } from "../../src/format/index-object.ts";
import { decodeDirectory, decodeTrailer, encodePackEnd, openBlobList, sealBlobList } from "../../src/format/pack.ts";
import { decodeRunning, encodeRunning } from "../../src/format/running.ts";
import { decodeSnapshotOpen, encodeSnapshot, openSealedPart } from "../../src/format/snapshot.ts";
import {
  contentIds,
  decodeContentList,
  decodeEntry,
  encodeContentList,
  encodeEntry,
  encodeFan,
  encodeLeaf,
  iterateTree,
} from "../../src/format/tree.ts";
import type { DirectoryEntry, EntryAttributes, TreeEntry } from "../../src/format/tree.ts";
import type { RawPath } from "../../src/platform/raw-path.ts";
import type { FuzzTarget } from "./fuzz.ts";
import { RSYNC_FUZZ_TARGETS } from "./rsync-fuzz-targets.ts";
import { WIRE_FUZZ_TARGETS } from "./wire-fuzz-targets.ts";

const PASSPHRASE = "correct horse";
const MEBIBYTE = 1024 * 1024;
const repositoryId = Buffer.alloc(16, 7);
const ring = createKeyRing(repositoryId);
const { origin, key: frameKey } = createFrameKey(ring.publicKey, repositoryId);
const id = (fill: number): Buffer => Buffer.alloc(32, fill);

const attributes: EntryAttributes = {
  name: "name" as RawPath,
  type: "file",
  mode: 0o644,
  uid: 1000,
  gid: 1000,
  user: "ann",
  group: "staff",
  mtimeSeconds: -5,
  mtimeNanoseconds: 999_999_999,
  inodeFlags: 0,
  xattrs: [],
  hardLink: undefined,
};

const top: DirectoryEntry = { ...attributes, type: "directory", name: "" as RawPath, tree: id(9) };

const entries: readonly TreeEntry[] = [
  { ...attributes, type: "block", name: "b" as RawPath, major: 4095, minor: 1_048_575 },
  { ...attributes, type: "directory", name: "d" as RawPath, tree: id(1) },
  { ...attributes, type: "fifo", name: "f" as RawPath, hardLink: Buffer.alloc(16, 3) },
  {
    ...attributes,
    type: "file",
    name: "g" as RawPath,
    sizeBytes: 1000,
    content: [
      { id: id(2), lengthBytes: 300 },
      { id: id(3), lengthBytes: 100 },
    ],
    holes: [
      { offset: 0, lengthBytes: 500 },
      { offset: 900, lengthBytes: 100 },
    ],
    inodeFlags: 5,
    xattrs: [{ name: "user.a" as RawPath, value: Buffer.from("value") }],
  },
  { ...attributes, type: "symlink", name: "s" as RawPath, target: "\xff/target" as RawPath },
];

const encodedEntries = entries.map((entry) => Buffer.from(encodeEntry(entry)));
const leaf = Buffer.from(encodeLeaf(encodedEntries));

const blobIds = [id(4), id(5)];
const blobLengths = [10, 300];
const location = {
  kind: "data" as const,
  origin,
  number: 0,
  offset: 24,
  length: 400,
  checksum: Buffer.alloc(16),
  sealedBlobs: sealBlobList(ring.indexKey, repositoryId, origin, 0, blobIds, blobLengths),
};
const packEnd = encodePackEnd([location, { ...location, number: 1, offset: 424, length: 600 }]);
const packSize = 24 + 1000 + packEnd.length;
const trailer = packEnd.subarray(packEnd.length - 32);
const directory = packEnd.subarray(0, packEnd.length - 32);

const frameNames = { origins: origin, originIndexes: Uint32Array.of(0, 0), numbers: Uint32Array.of(0, 1) };
const indexBytes = Buffer.concat(
  encodeIndex({
    repositoryId,
    packs: [
      { name: id(8), sizeBytes: packSize, frames: [location, { ...location, number: 1, offset: 424, length: 600 }] },
    ],
    sections: [
      sealBlobSection(ring.indexKey, repositoryId, {
        count: 2,
        frameNames,
        ids: Buffer.concat(blobIds.map((blobId) => blobId.subarray(0, 16))),
        frames: Uint32Array.of(0, 1),
        places: Uint16Array.of(0, 1),
        lengths: Uint32Array.of(10, 300),
      }),
    ],
  }),
);

const frameSet = encodeFrameSet([{ origin, numbers: Uint32Array.of(0, 1, 5, 100_000) }]);
const sealedPart = { paths: ["/home" as RawPath], tags: ["t"], user: "ann", program: "p", excludes: ["*.o"] };
const snapshotBytes = encodeSnapshot({
  repositoryId,
  publicKey: ring.publicKey,
  signingKey: generateSigningKey(),
  open: {
    time: "2026-11-20T10:00:00.000Z",
    host: "web1",
    group: "0".repeat(32),
    parent: null,
    files: 1,
    directories: 1,
    others: 0,
    sizeBytes: 1000,
    addedBytes: 10,
    storedBytes: 20,
    complete: true,
  },
  frameSet,
  sealed: { ...sealedPart, root: top, statistics: { seconds: 1 } },
});
const snapshot = decodeSnapshotOpen(snapshotBytes);

/** Decodes and goes through everything, because decoding may be done only as one goes. */
function consumeTree(bytes: Uint8Array): void {
  const tree = iterateTree(bytes);
  if (tree.kind === "fan") return;
  for (const entry of tree.entries) void entry;
  for (const encoded of tree.encodedEntries) contentIds(encoded, () => undefined);
}

/** A frame record that is sealed as it should be, around a plaintext that a hostile writer chose. */
function openSealedFrame(plaintext: Uint8Array): void {
  const header = encodeFrameHeader({ kind: "data", number: 3, sealedLength: plaintext.length + 16, origin });
  const sealed = seal(frameKey, 3, frameAad(repositoryId, header), [plaintext]);
  parseFrameBlobs(openFrame(Buffer.concat([header, sealed]), frameKey, repositoryId).raw);
}

function framePlaintext(compression: number, rawLength: number, payload: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = compression;
  prefix.writeUInt32LE(rawLength, 1);
  return Buffer.concat([prefix, payload]);
}

const frameRaw = Buffer.concat([frameBlobTable([5, 6]), Buffer.from("hello world")]);
const zeros = Buffer.concat([frameBlobTable([MEBIBYTE]), Buffer.alloc(MEBIBYTE)]);

/** As `sealBlobList` seals, around a list that a hostile writer chose. */
function openSealedBlobList(list: Uint8Array): void {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(2);
  const aad = Buffer.concat([repositoryId, origin, number]);
  const sealed = seal(createKeyedHash(ring.indexKey).hash(origin), 2, aad, [list]);
  openBlobList(ring.indexKey, repositoryId, origin, 2, sealed);
}

/** As a snapshot record seals, around JSON that a hostile writer chose. */
function openSealedSnapshotPart(json: Uint8Array): void {
  const info = Buffer.concat([Buffer.from("holdfast 2026 snapshot"), repositoryId]);
  const context = encapsulate(ring.publicKey, info);
  const magic = Buffer.from("HFSN\x01\0\0\0", "latin1");
  const aad = sha256(magic, repositoryId, snapshot.openBytes, snapshot.frameSetBytes);
  const sealed = seal(context.export("record", 32), 0, aad, [json]);
  openSealedPart(ring.privateKey!, { ...snapshot, sealedBytes: Buffer.concat([context.enc, sealed]) });
}

const sealedJson = Buffer.from(
  JSON.stringify({ ...sealedPart, root: Buffer.from(encodeEntry(top)).toString("base64"), statistics: { seconds: 1 } }),
);

export const FUZZ_TARGETS: readonly FuzzTarget[] = [
  {
    name: "config",
    seeds: [encodeConfig({ id: repositoryId, created: "2026-11-20T10:00:00.000Z", publicKey: ring.publicKey })],
    decode: decodeConfig,
  },
  { name: "key ring", seeds: [encodeKeyRing(ring, { label: "mine" })], decode: (bytes) => decodeKeyRing(bytes) },
  {
    name: "key file",
    seeds: [await encryptWithPassphrase(encodeKeyRing(ring), PASSPHRASE, 1)],
    decode: (bytes) => decryptKeyFile(bytes, { passphrase: PASSPHRASE }),
  },
  {
    name: "condemned",
    seeds: [encodeCondemned({ packs: ["a".repeat(64)], time: "2026-11-20T10:00:00.000Z" })],
    decode: (bytes) => decodeCondemned(bytes),
  },
  {
    name: "running",
    seeds: [encodeRunning({ host: "web1", process: 7, started: "2026-11-20T10:00:00.000Z", what: "backup" })],
    decode: (bytes) => decodeRunning(bytes),
  },
  {
    name: "frame header",
    seeds: [encodeFrameHeader({ kind: "tree", number: 3, sealedLength: 100, origin })],
    decode: (bytes) => decodeFrameHeader(bytes),
  },
  {
    name: "frame plaintext",
    seeds: [
      framePlaintext(0, frameRaw.length, frameRaw),
      framePlaintext(1, frameRaw.length, zstdCompressSync(frameRaw)),
      framePlaintext(1, zeros.length, zstdCompressSync(zeros)),
    ],
    decode: openSealedFrame,
    memoryLimitBytes: 40 * MEBIBYTE,
  },
  { name: "frame blobs", seeds: [frameRaw], decode: (bytes) => parseFrameBlobs(bytes) },
  { name: "pack trailer", seeds: [trailer], decode: (bytes) => decodeTrailer(bytes, packSize) },
  { name: "pack directory", seeds: [directory], decode: (bytes) => decodeDirectory(bytes, packSize, "pack") },
  {
    name: "blob list",
    seeds: [Buffer.concat([Buffer.from([2, 10, 20]), ...blobIds])],
    decode: openSealedBlobList,
  },
  {
    name: "index",
    seeds: [indexBytes],
    decode: (bytes) => {
      for (const pack of packsOf(decodeIndex(bytes))) void pack;
    },
  },
  { name: "frame set", seeds: [frameSet], decode: (bytes) => decodeFrameSet(bytes) },
  { name: "snapshot", seeds: [snapshotBytes], decode: (bytes) => decodeSnapshotOpen(bytes).signatureValid() },
  { name: "snapshot's sealed part", seeds: [sealedJson], decode: openSealedSnapshotPart },
  { name: "tree entry", seeds: encodedEntries, decode: (bytes) => decodeEntry(bytes) },
  {
    name: "tree",
    seeds: [leaf, Buffer.from(encodeFan([{ id: id(1), count: 5, firstName: "a" as RawPath }]))],
    decode: consumeTree,
  },
  {
    name: "content list",
    seeds: [encodeContentList([{ id: id(2), lengthBytes: 300 }])],
    decode: (bytes) => decodeContentList(bytes),
  },
  ...WIRE_FUZZ_TARGETS,
  ...RSYNC_FUZZ_TARGETS,
];
