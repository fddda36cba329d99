import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createKeyRing } from "../crypto/key-ring.ts";
import { seal } from "../crypto/aead.ts";
import { encapsulate, publicKeyOf } from "../crypto/hpke.ts";
import { sha256 } from "../crypto/keyed-hash.ts";
import { generateSigningKey, sign, signingKeyFromSeed } from "../crypto/signing.ts";
import { DamagedError } from "../errors.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { decodeFrameSet, encodeFrameSet } from "./frame-set.ts";
import type { DecodedSnapshot, SnapshotOpenPart, SnapshotSealedPart } from "./snapshot.ts";
import { decodeSnapshotOpen, encodeSnapshot, openSealedPart } from "./snapshot.ts";
import { anyName } from "./testing/arbitraries.ts";
import { decodesOrNames } from "./testing/hostile.ts";
import type { DirectoryEntry } from "./tree.ts";
import { encodeEntry } from "./tree.ts";

const RING = createKeyRing(Buffer.alloc(16, 9));
const SIGNING_KEY = generateSigningKey();
const FRAME_SET = encodeFrameSet([{ origin: Buffer.alloc(32, 1), numbers: Uint32Array.from([0, 1, 5]) }]);

const OPEN: SnapshotOpenPart = {
  time: "2026-11-20T10:11:12.131Z",
  host: "tower \u{1f332}",
  group: "00112233445566778899aabbccddeeff",
  parent: null,
  files: 3,
  directories: 2,
  others: 1,
  sizeBytes: 2 ** 53 - 1,
  addedBytes: 10,
  storedBytes: 5,
  complete: true,
};

const ROOT: DirectoryEntry = {
  name: "" as RawPath,
  type: "directory",
  mode: 0o755,
  uid: 0,
  gid: 0,
  user: "root",
  group: "root",
  mtimeSeconds: 1,
  mtimeNanoseconds: 2,
  inodeFlags: 0,
  xattrs: [],
  hardLink: undefined,
  tree: Buffer.alloc(32, 7),
};

const SEALED: SnapshotSealedPart = {
  paths: ["/home/\xe4\xff" as RawPath, "/etc" as RawPath],
  tags: ["weekly", "größe"],
  root: ROOT,
  user: "ann",
  program: "holdfast 0.1.0",
  excludes: ["*.tmp"],
  statistics: { seconds: 1.5, unchanged: 7 },
};

function encode(open = OPEN, sealed = SEALED): Buffer {
  return encodeSnapshot({
    repositoryId: RING.repositoryId,
    publicKey: RING.publicKey,
    signingKey: SIGNING_KEY,
    open,
    frameSet: FRAME_SET,
    sealed,
  });
}

test("a snapshot comes back: open part, frame set, sealed part and signer", () => {
  const snapshot = decodeSnapshotOpen(encode());
  assert.deepEqual(snapshot.open, OPEN);
  assert.deepEqual(snapshot.repositoryId, RING.repositoryId);
  assert.deepEqual(snapshot.signer, SIGNING_KEY.publicKey);
  assert.ok(snapshot.signatureValid());
  assert.deepEqual(decodeFrameSet(snapshot.frameSetBytes), decodeFrameSet(FRAME_SET));
  assert.deepEqual(openSealedPart(RING.privateKey!, snapshot), SEALED);
});

test("any paths, tags and numbers come back", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 20 });
  fc.assert(
    fc.property(
      fc.array(anyName),
      fc.array(text),
      text,
      fc.maxSafeNat(),
      fc.boolean(),
      fc.dictionary(
        text,
        fc.double({ noNaN: true, noDefaultInfinity: true }).filter((number) => !Object.is(number, -0)),
        {
          noNullPrototype: true,
        },
      ),
      (paths, tags, host, sizeBytes, complete, statistics) => {
        const open = { ...OPEN, host, sizeBytes, complete, parent: "ab".repeat(32) };
        const sealed = { ...SEALED, paths, tags, user: host, excludes: tags, statistics };
        const snapshot = decodeSnapshotOpen(encode(open, sealed));
        assert.deepEqual(snapshot.open, open);
        assert.deepEqual(openSealedPart(RING.privateKey!, snapshot), sealed);
      },
    ),
    { numRuns: 50 },
  );
});

// A record of format version 1, made once: it must open for ever. See docs/format.md, "Snapshot record".
const GOLDEN_PRIVATE_KEY = Buffer.alloc(32, 1);
const GOLDEN_SIGNER = signingKeyFromSeed(Buffer.alloc(32, 2));
const GOLDEN = [
  "SEZTTgEAAAAJCQkJCQkJCQkJCQkJCQkJ4gAAAHsidGltZSI6IjIwMjYtMTEtMjBUMTA6MTE6MTIuMTMxWiIsImhvc3QiOiJ0b3dlciDwn4yyIiwi",
  "Z3JvdXAiOiIwMDExMjIzMzQ0NTU2Njc3ODg5OWFhYmJjY2RkZWVmZiIsInBhcmVudCI6bnVsbCwiZmlsZXMiOjMsImRpcmVjdG9yaWVzIjoyLCJv",
  "dGhlcnMiOjEsInNpemVCeXRlcyI6OTAwNzE5OTI1NDc0MDk5MSwiYWRkZWRCeXRlcyI6MTAsInN0b3JlZEJ5dGVzIjo1LCJjb21wbGV0ZSI6dHJ1",
  "ZX0mAAAAAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAgACAwExAQAAIsBPdZB6shPJhNXVgpxHT9Sjy6A9Zw/7DtEpBQ1ZvHJQI6zs",
  "QJzGDQ5EggfZ4Lh7tDFSUlTHBe/cGKm25ZAKz29HyBIT+vFxUYfaouw1VhlarOoifmPgPZamxnIZ7+1k8y883auUmp/UbPXNv/UHuJrBW84adBsE",
  "6s/BjPN8AcABKt13iVXc1mukOaZrvZItgDfA79y0lZZsxFAFLnflJsAb8ieH252LgD9+dmHHlPW2gpETmka//hL8UqDuvHiePmPIuwspiks5s3sh",
  "Vhq1XeeuKiX7jzHD0Tt6Gagfoy373PRSqF+mTTWH028Tr1qesyUloGO83HsGiwU6hLt/JPfdvikgU1n0FCTTT++oeh7IYmgzr5ZEzfCKv1JfLFZn",
  "VZ4v9cfHnxgGJ/CHD2U9J/2BOXcOqH0XX1ajVGbDTH7My42KkbTuN6Jd9g9bj8mzlDv3tc4s4F5FJYkPLStDUguYziYJ1lm6ZBZNhKr9VjOBBOc1",
  "i5Nw/qk9eff1fbTUn8U6DeXjP+96rX+I4Un2uw0=",
].join("");

test("a record that was stored long ago opens", () => {
  const snapshot = decodeSnapshotOpen(Buffer.from(GOLDEN, "base64"));
  assert.ok(snapshot.signatureValid());
  assert.deepEqual(snapshot.signer, GOLDEN_SIGNER.publicKey);
  assert.deepEqual(snapshot.open, OPEN);
  assert.deepEqual(snapshot.frameSetBytes, FRAME_SET);
  assert.deepEqual(openSealedPart(GOLDEN_PRIVATE_KEY, snapshot), SEALED);
});

test("a record has the layout that the format says", () => {
  const bytes = encode();
  const openJson = Buffer.from(JSON.stringify(OPEN));
  const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
  const start = Buffer.concat([
    Buffer.from("4846534e01000000", "hex"),
    RING.repositoryId,
    u32(openJson.length),
    openJson,
    u32(FRAME_SET.length),
    FRAME_SET,
  ]);
  assert.deepEqual(bytes.subarray(0, start.length), start);
  const sealedLength = bytes.readUInt32LE(start.length);
  const signed = bytes.subarray(0, start.length + 4 + sealedLength);
  assert.deepEqual(bytes.subarray(signed.length, signed.length + 32), SIGNING_KEY.publicKey);
  const message = Buffer.concat([Buffer.from("holdfast 2026 snapshot"), sha256(signed)]);
  assert.deepEqual(bytes.subarray(signed.length + 32), sign(SIGNING_KEY, message));
});

test("every altered byte and every cut of a record breaks it or its signature", () => {
  const bytes = encode();
  for (let at = 0; at < bytes.length; at++) {
    for (const mask of [0x01, 0x80, 0xff]) {
      const altered = Buffer.from(bytes);
      altered[at] ^= mask;
      const decoded = decodesOrNames((given) => {
        if (!decodeSnapshotOpen(given).signatureValid())
          throw new DamagedError("snapshot is damaged: its signature is wrong");
      }, altered);
      assert.equal(decoded, false, `byte ${at}`);
    }
    assert.equal(
      decodesOrNames((given) => decodeSnapshotOpen(given), bytes.subarray(0, at)),
      false,
      `cut to ${at}`,
    );
  }
});

test("a sealed part opens only with its key, and only beside its own open part and frame set", () => {
  const snapshot = decodeSnapshotOpen(encode());
  const other = decodeSnapshotOpen(encode({ ...OPEN, host: "other" }));
  const refused: [Uint8Array, DecodedSnapshot][] = [
    [createKeyRing(RING.repositoryId).privateKey!, snapshot],
    [RING.privateKey!, { ...snapshot, openBytes: other.openBytes }],
    [RING.privateKey!, { ...snapshot, sealedBytes: other.sealedBytes }],
    [RING.privateKey!, { ...snapshot, frameSetBytes: Buffer.from([0]) }],
    [RING.privateKey!, { ...snapshot, repositoryId: Buffer.alloc(16) }],
    [RING.privateKey!, { ...snapshot, sealedBytes: Buffer.alloc(31) }],
    [RING.privateKey!, { ...snapshot, sealedBytes: Buffer.alloc(80) }],
  ];
  for (const [privateKey, given] of refused) {
    assert.throws(() => openSealedPart(privateKey, given, "snapshot 12"), DamagedError);
  }
});

test("equal snapshots give unequal sealed parts", () => {
  const [a, b] = [decodeSnapshotOpen(encode()), decodeSnapshotOpen(encode())];
  assert.notDeepEqual(a.sealedBytes.subarray(0, 40), b.sealedBytes.subarray(0, 40));
  assert.notDeepEqual(a.sealedBytes.subarray(32, 40), b.sealedBytes.subarray(32, 40));
});

const open = { ...OPEN } as Record<string, unknown>;
const BAD_OPEN: [string, unknown, RegExp][] = [
  ["no JSON", "{", /not JSON/],
  ["a list", [], /not a JSON object/],
  ["no time", { ...open, time: undefined }, /"time"/],
  ["a time that is none", { ...open, time: "2026-13-45T99:00:00.000Z" }, /"time" is not a time/],
  ["a group that is none", { ...open, group: "xyz" }, /"group" is not 32 hex digits/],
  ["a parent that is none", { ...open, parent: "ab" }, /"parent" is not 64 hex digits/],
  ["a parent left out", { ...open, parent: undefined }, /"parent"/],
  ["files below zero", { ...open, files: -1 }, /"files" is not a whole number/],
  ["a size beyond 2^53", { ...open, sizeBytes: 2 ** 60 }, /"sizeBytes"/],
  ["a number for completeness", { ...open, complete: 1 }, /"complete"/],
  ["a prototype", `{"__proto__":${JSON.stringify(open)}}`, /"time" is not text/],
];

for (const [name, content, message] of BAD_OPEN) {
  test(`an open part with ${name} is refused by name`, () => {
    const json = Buffer.from(typeof content === "string" ? content : JSON.stringify(content));
    const bytes = encode();
    const openLength = bytes.readUInt32LE(24);
    const length = Buffer.from(Uint32Array.of(json.length).buffer);
    const record = Buffer.concat([bytes.subarray(0, 24), length, json, bytes.subarray(28 + openLength)]);
    assert.throws(
      () => decodeSnapshotOpen(record, "snapshot 12"),
      (error) => error instanceof DamagedError && message.test(error.message) && error.message.includes("snapshot 12"),
    );
  });
}

const root = encodeEntry(ROOT).toString("base64");
const sealed = { ...SEALED, root } as Record<string, unknown>;
const BAD_SEALED: [string, unknown, RegExp][] = [
  ["no paths", { ...sealed, paths: undefined }, /"paths"/],
  ["a path that is no text", { ...sealed, paths: [1] }, /"paths"/],
  [
    "a path of characters that are no bytes",
    { ...sealed, paths: ["\u0100"] },
    /"paths" has characters that are no bytes/,
  ],
  ["a root that is not base64", { ...sealed, root: "*" }, /"root" is not base64/],
  [
    "a root that is a file system's object of another kind",
    { ...sealed, root: fifo() },
    /"root" is not a top directory/,
  ],
  ["a root that has a name", { ...sealed, root: named() }, /"root" is not a top directory/],
  ["a root that is cut off", { ...sealed, root: root.slice(0, 40) }, /top directory of snapshot/],
  ["statistics that are no numbers", { ...sealed, statistics: { a: "b" } }, /"statistics"/],
];

function fifo(): string {
  const { tree: _, ...attributes } = ROOT;
  return encodeEntry({ ...attributes, type: "fifo" }).toString("base64");
}

function named(): string {
  return encodeEntry({ ...ROOT, name: "x" as RawPath }).toString("base64");
}

for (const [name, content, message] of BAD_SEALED) {
  test(`a sealed part with ${name} is refused by name`, () => {
    const snapshot = decodeSnapshotOpen(encode());
    const context = encapsulate(
      RING.publicKey,
      Buffer.concat([Buffer.from("holdfast 2026 snapshot"), RING.repositoryId]),
    );
    const magic = Buffer.from("4846534e01000000", "hex");
    const aad = sha256(magic, RING.repositoryId, snapshot.openBytes, snapshot.frameSetBytes);
    const bytes = seal(context.export("record", 32), 0, aad, [Buffer.from(JSON.stringify(content))]);
    const given = { ...snapshot, sealedBytes: Buffer.concat([context.enc, bytes]) };
    assert.throws(
      () => openSealedPart(RING.privateKey!, given),
      (error) => error instanceof DamagedError && message.test(error.message),
    );
  });
}

test("the public key of the golden record is the one of its private key", () => {
  assert.equal(publicKeyOf(GOLDEN_PRIVATE_KEY).toString("base64"), "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=");
});
