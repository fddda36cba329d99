import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { seal } from "../crypto/aead.ts";
import { generateKeyPair } from "../crypto/hpke.ts";
import { DamagedError } from "../errors.ts";
import { allocateNative, type NativeMemory } from "../platform/libc.ts";
import type { FrameToSeal } from "./frame.ts";
import {
  FRAME_HEADER_BYTES,
  FRAME_OVERHEAD_BYTES,
  MAXIMUM_RAW_BYTES,
  createFrameKey,
  decodeFrameHeader,
  encodeFrameHeader,
  frameAad,
  frameBlobTable,
  openFrame,
  openFrameInPlace,
  openFrameKey,
  parseFrameBlobs,
  sealFrame,
} from "./frame.ts";
import { assertChangesAreHarmless, assertEveryChangeIsNoticed, decodesOrNames } from "./testing/hostile.ts";

const REPOSITORY = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");
const KEY = Buffer.alloc(32, 0x11);
const ORIGIN = Buffer.alloc(32, 0x22);
const RAW = Buffer.concat([frameBlobTable([5, 1]), Buffer.from("hello!")]);

const FRAME: FrameToSeal = {
  key: KEY,
  repositoryId: REPOSITORY,
  origin: ORIGIN,
  number: 7,
  kind: "data",
  compression: "none",
  rawLength: RAW.length,
  payload: RAW,
};

// A change here is a change of format: see docs/format.md, "Frame".
const GOLDEN_HEADER = `4846460101000000070000001e000000${"22".repeat(32)}`;
const GOLDEN_SEALED = "f1806d6050641bf55295974f71a295410a91b532af3a4fb5fdd9e1918821";

test("a frame record has the bytes that the format says", () => {
  const record = sealFrame(FRAME);
  assert.equal(record.toString("hex", 0, 48), GOLDEN_HEADER);
  assert.equal(record.toString("hex", 48), GOLDEN_SEALED);
  assert.equal(record.length, RAW.length + FRAME_OVERHEAD_BYTES);
  assert.equal(RAW.toString("hex"), "020501" + Buffer.from("hello!").toString("hex"));
});

test("a frame's plaintext is compression, raw length and payload, sealed with repository and header", () => {
  const header = Buffer.from(GOLDEN_HEADER, "hex");
  const plain = Buffer.concat([Buffer.from("0009000000", "hex"), RAW]);
  assert.deepEqual(sealFrame(FRAME).subarray(48), seal(KEY, 7, Buffer.concat([REPOSITORY, header]), [plain]));
  assert.deepEqual(frameAad(REPOSITORY, header), Buffer.concat([REPOSITORY, header]));
});

test("a frame header comes back", () => {
  const header = { kind: "tree" as const, number: 2 ** 31 - 1, sealedLength: 16 * 1024 * 1024, origin: ORIGIN };
  assert.deepEqual(decodeFrameHeader(encodeFrameHeader(header)), header);
});

test("blobs come back from a frame, compressed or not, in one piece or several", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 50 }),
      fc.constantFrom("none", "zstd"),
      fc.constantFrom("data", "tree"),
      fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      (blobs, compression, kind, number) => {
        const raw = Buffer.concat([frameBlobTable(blobs.map((blob) => blob.length)), ...blobs]);
        const payload = compression === "zstd" ? [zstdCompressSync(raw)] : [raw.subarray(0, 1), raw.subarray(1)];
        const frame = { ...FRAME, kind, number, compression, rawLength: raw.length, payload };
        const opened = openFrame(sealFrame(frame), KEY, REPOSITORY, { kind, number, origin: ORIGIN });
        assert.deepEqual(opened, { kind, number, origin: ORIGIN, raw });
        const { count, offsets, lengths } = parseFrameBlobs(opened.raw);
        assert.equal(count, blobs.length);
        const found = Array.from(offsets, (offset, place) => opened.raw.subarray(offset, offset + lengths[place]));
        assert.deepEqual(
          found,
          blobs.map((blob) => Buffer.from(blob)),
        );
      },
    ),
  );
});

/** As `openFrame`, by way of `openFrameInPlace`. */
function openedInPlace(record: Uint8Array, key: Uint8Array = KEY): Buffer {
  const memory = allocateNative(Math.ceil((record.length + 1) / 8) * 8);
  memory.bytes.set(record);
  const taken: NativeMemory[] = [];
  const take = (sizeBytes: number): NativeMemory => {
    taken.push(allocateNative(Math.ceil((sizeBytes + 1) / 8) * 8));
    return taken[taken.length - 1];
  };
  const opened = openFrameInPlace(memory, record.length, key, REPOSITORY, take);
  assert.equal(opened.memory, taken.at(0) ?? memory);
  assert.equal(opened.raw.buffer, opened.memory.bytes.buffer);
  return Buffer.from(opened.raw);
}

test("a frame opened in place holds the same", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 50 }),
      fc.constantFrom("none", "zstd"),
      (blobs, compression) => {
        const raw = Buffer.concat([frameBlobTable(blobs.map((blob) => blob.length)), ...blobs]);
        const payload = compression === "zstd" ? zstdCompressSync(raw) : raw;
        const record = sealFrame({ ...FRAME, compression, rawLength: raw.length, payload });
        assert.deepEqual(openedInPlace(record), raw);
      },
    ),
  );
});

test("every altered byte and every cut is noticed in place too, and other keys, and false lengths", () => {
  assertEveryChangeIsNoticed(openedInPlace, sealFrame(FRAME));
  assert.throws(() => openedInPlace(sealFrame(FRAME), Buffer.alloc(32)), DamagedError);
  const raw = Buffer.alloc(1000, 1);
  for (const rawLength of [999, 1001]) {
    for (const compression of ["none", "zstd"] as const) {
      const payload = compression === "zstd" ? zstdCompressSync(raw) : raw;
      assert.throws(() => openedInPlace(sealFrame({ ...FRAME, compression, rawLength, payload })), DamagedError);
    }
  }
});

test("a frame of the largest size comes back", () => {
  const raw = Buffer.alloc(MAXIMUM_RAW_BYTES, 1);
  const record = sealFrame({ ...FRAME, compression: "zstd", rawLength: raw.length, payload: zstdCompressSync(raw) });
  assert.ok(openFrame(record, KEY, REPOSITORY).raw.equals(raw));
  assert.throws(() => sealFrame({ ...FRAME, rawLength: raw.length, payload: raw }), RangeError);
});

test("every altered byte and every cut of a frame record is noticed", () => {
  const expected = { kind: "data", origin: ORIGIN, number: 7 } as const;
  assertEveryChangeIsNoticed((bytes) => openFrame(bytes, KEY, REPOSITORY, expected), sealFrame(FRAME));
  assertEveryChangeIsNoticed((bytes) => openFrame(bytes, KEY, REPOSITORY), sealFrame(FRAME));
});

test("no frame stands in for another: not of another number, kind, origin or repository", () => {
  const record = sealFrame(FRAME);
  const name = { kind: "data" as const, origin: ORIGIN, number: 7 };
  for (const expected of [
    { ...name, number: 8 },
    { ...name, kind: "tree" as const },
    { ...name, origin: Buffer.alloc(32, 0x23) },
  ]) {
    assert.throws(
      () => openFrame(record, KEY, REPOSITORY, expected),
      /in its place stands the data frame 2222222222222222\/7/,
    );
  }
  assert.throws(() => openFrame(record, KEY, Buffer.alloc(16)), DamagedError);
  assert.throws(() => openFrame(record, Buffer.alloc(32), REPOSITORY), DamagedError);
  // The same header in a record that was sealed under another.
  const other = sealFrame({ ...FRAME, kind: "tree" });
  const swapped = Buffer.concat([record.subarray(0, FRAME_HEADER_BYTES), other.subarray(FRAME_HEADER_BYTES)]);
  assert.throws(() => openFrame(swapped, KEY, REPOSITORY), DamagedError);
});

test("equal content gives unequal frames, in two packs and in one", () => {
  const { publicKey } = generateKeyPair();
  const [a, b] = [createFrameKey(publicKey, REPOSITORY), createFrameKey(publicKey, REPOSITORY)];
  assert.notDeepEqual(a.origin, b.origin);
  assert.notDeepEqual(a.key, b.key);
  const sealed = [
    sealFrame({ ...FRAME, ...a, number: 0 }),
    sealFrame({ ...FRAME, ...a, number: 1 }),
    sealFrame({ ...FRAME, ...b, number: 0 }),
  ].map((record) => record.subarray(FRAME_HEADER_BYTES));
  for (const [index, one] of sealed.entries()) {
    for (const other of sealed.slice(index + 1)) {
      // Under one nonce and key, equal content would give equal ciphertext from the start.
      assert.notDeepEqual(one.subarray(0, 8), other.subarray(0, 8));
    }
  }
});

test("the private key opens what was sealed to the public one, and no other does", () => {
  const keys = generateKeyPair();
  const { origin, key } = createFrameKey(keys.publicKey, REPOSITORY);
  assert.deepEqual(openFrameKey(keys.privateKey, origin, REPOSITORY), key);
  assert.notDeepEqual(openFrameKey(generateKeyPair().privateKey, origin, REPOSITORY), key);
  assert.notDeepEqual(openFrameKey(keys.privateKey, origin, Buffer.alloc(16)), key);
  assert.throws(() => openFrameKey(keys.privateKey, Buffer.alloc(32), REPOSITORY), /origin 0000.* is damaged/);
});

/** A frame whose plaintext a malicious writer chose. */
function frameOf(compression: number, rawLength: number, payload: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = compression;
  prefix.writeUInt32LE(rawLength, 1);
  const sealedLength = 5 + payload.length + 16;
  const header = encodeFrameHeader({ kind: "data", number: 0, sealedLength, origin: ORIGIN });
  return Buffer.concat([header, seal(KEY, 0, frameAad(REPOSITORY, header), [prefix, payload])]);
}

const BOMB = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));

const MALICIOUS: [string, Buffer, RegExp][] = [
  ["an unknown compression", frameOf(2, 3, Buffer.alloc(3)), /compression 2 is unknown/],
  ["a raw length that is too large", frameOf(1, 2 ** 32 - 1, BOMB), /4294967295 bytes is more than allowed/],
  ["more content than it says", frameOf(1, 1000, BOMB), /does not decompress/],
  [
    "content where it says there is none",
    frameOf(1, 0, zstdCompressSync(Buffer.alloc(2))),
    /does not decompress|instead/,
  ],
  ["less content than it says", frameOf(1, 1000, zstdCompressSync(Buffer.alloc(999))), /999 bytes instead of 1000/],
  ["stored content of another length", frameOf(0, 4, Buffer.alloc(3)), /3 bytes instead of 4/],
  ["what zstd did not make", frameOf(1, 100, randomBytes(50)), /does not decompress/],
  ["zstd data that is cut off", frameOf(1, 64, zstdCompressSync(Buffer.alloc(64)).subarray(0, 9)), /does not|instead/],
];

for (const [name, record, message] of MALICIOUS) {
  test(`a frame with ${name} is refused`, () => {
    decodesOrNames((bytes) => openFrame(bytes, KEY, REPOSITORY), record);
    assert.throws(() => openFrame(record, KEY, REPOSITORY), message);
  });
}

test("a table of blobs that does not fit its frame is refused", () => {
  assertChangesAreHarmless((bytes) => parseFrameBlobs(bytes), RAW);
  const refused: [string, RegExp][] = [
    ["00", /cannot hold 0 blobs/],
    ["ffff03", /cannot hold 65535 blobs/],
    ["808004", /65536 is more than 65535/],
    ["0181808004", /8388609 is more than 8388608/],
    ["020101aa", /needs 1 bytes, 0 are left/],
    ["0101aabb", /1 bytes too many/],
  ];
  for (const [hex, message] of refused) {
    assert.throws(() => parseFrameBlobs(Buffer.from(hex, "hex")), message);
  }
});
