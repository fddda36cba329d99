import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { checksum16, sha256Hex } from "../crypto/keyed-hash.ts";
import { DamagedError, ObjectMissingError } from "../errors.ts";
import type { ByteRange, Storage } from "../storage/storage.ts";
import { sealFrame } from "./frame.ts";
import type { FrameLocation } from "./pack.ts";
import {
  PACK_HEADER_BYTES,
  PACK_TRAILER_BYTES,
  checkPackHeader,
  decodeDirectory,
  decodeTrailer,
  encodePackEnd,
  encodePackHeader,
  openBlobList,
  packObjectName,
  parsePackObjectName,
  readDirectory,
  sealBlobList,
} from "./pack.ts";
import { assertChangesAreHarmless, assertEveryChangeIsNoticed, decodesOrNames } from "./testing/hostile.ts";

const REPOSITORY = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");
const INDEX_KEY = Buffer.alloc(32, 0x33);
const ORIGIN = Buffer.alloc(32, 0x22);
const OTHER_ORIGIN = Buffer.alloc(32, 0x44);

/** A whole pack of frames of these origins and numbers, as a writer makes it. */
function makePack(names: readonly { origin: Buffer; number: number; blobs?: number }[]): {
  bytes: Buffer;
  frames: FrameLocation[];
} {
  const parts = [encodePackHeader(REPOSITORY)];
  const frames: FrameLocation[] = [];
  let offset = PACK_HEADER_BYTES;
  for (const { origin, number, blobs = 1 } of names) {
    const payload = Buffer.alloc(10 + number);
    const common = { origin, number, kind: number % 2 === 0 ? ("data" as const) : ("tree" as const) };
    const record = sealFrame({
      key: Buffer.alloc(32, 1),
      repositoryId: REPOSITORY,
      ...common,
      compression: "none",
      rawLength: payload.length,
      payload,
    });
    const ids = Array.from({ length: blobs }, (_, place) => Buffer.alloc(32, place));
    const sealedBlobs = sealBlobList(
      INDEX_KEY,
      REPOSITORY,
      origin,
      number,
      ids,
      ids.map((_, place) => place),
    );
    frames.push({ ...common, offset, length: record.length, checksum: checksum16(record), sealedBlobs });
    parts.push(record);
    offset += record.length;
  }
  return { bytes: Buffer.concat([...parts, encodePackEnd(frames)]), frames };
}

/** A storage of one pack, which counts what is read of it. */
function storageOf(bytes: Buffer): Storage & { reads: ByteRange[] } {
  const name = packObjectName(sha256Hex(bytes));
  const reads: ByteRange[] = [];
  const storage = {
    location: "test",
    reads,
    async get(asked: string, range: ByteRange) {
      if (asked !== name) throw new ObjectMissingError(asked);
      assert.ok(range.offset >= 0 && range.offset + range.length <= bytes.length, "reads inside the pack");
      reads.push(range);
      return bytes.subarray(range.offset, range.offset + range.length);
    },
  };
  return storage as unknown as Storage & { reads: ByteRange[] };
}

const SMALL = makePack([
  { origin: ORIGIN, number: 0, blobs: 2 },
  { origin: ORIGIN, number: 1 },
  { origin: OTHER_ORIGIN, number: 3 },
]);
const SMALL_NAME = sha256Hex(SMALL.bytes);

test("a pack's directory comes back by reading its end", async () => {
  const storage = storageOf(SMALL.bytes);
  assert.deepEqual(await readDirectory(storage, SMALL_NAME, SMALL.bytes.length), SMALL.frames);
  assert.equal(storage.reads.length, 1);
});

test("a directory that is longer than the first read is read in two", async () => {
  const names = Array.from({ length: 60 }, (_, number) => ({ origin: ORIGIN, number, blobs: 60 }));
  const { bytes, frames } = makePack(names);
  const storage = storageOf(bytes);
  assert.deepEqual(await readDirectory(storage, sha256Hex(bytes), bytes.length), frames);
  assert.equal(storage.reads.length, 2);
  const read = storage.reads.reduce((sum, range) => sum + range.length, 0);
  assert.ok(read < 60 * (60 * 34 + 100), `${read} bytes were read`);
});

test("directories of any frames come back", () => {
  const origins = [ORIGIN, OTHER_ORIGIN, randomBytes(32)];
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(2), fc.nat(2 ** 31 - 1), fc.nat(1000)), { maxLength: 30 }), (list) => {
      let offset = PACK_HEADER_BYTES;
      const frames = list.map(([place, number, extra]) => {
        const frame: FrameLocation = {
          kind: extra % 2 === 0 ? "data" : "tree",
          origin: origins[place],
          number,
          offset,
          length: 100 + extra,
          checksum: randomBytes(16),
          sealedBlobs: randomBytes(extra),
        };
        offset += frame.length;
        return frame;
      });
      const end = encodePackEnd(frames);
      const size = offset + end.length;
      const trailer = decodeTrailer(end.subarray(-PACK_TRAILER_BYTES), size);
      assert.equal(trailer.directoryOffset, offset);
      assert.deepEqual(decodeDirectory(end.subarray(0, -PACK_TRAILER_BYTES), size, "x"), frames);
    }),
  );
});

// A change here is a change of format: see docs/format.md, "Pack".
test("a pack has the bytes that the format says", () => {
  assert.equal(encodePackHeader(REPOSITORY).toString("hex"), "4846504b01000000000102030405060708090a0b0c0d0e0f");
  const frame: FrameLocation = {
    kind: "tree",
    origin: ORIGIN,
    number: 300,
    offset: 24,
    length: 200,
    checksum: Buffer.alloc(16, 0x55),
    sealedBlobs: Buffer.from("aabb", "hex"),
  };
  const directory = `01${"22".repeat(32)}010200ac0218c801${"55".repeat(16)}02aabb`;
  const checksum = checksum16(Buffer.from(directory, "hex")).toString("hex");
  assert.equal(encodePackEnd([frame]).toString("hex"), `${directory}3c000000${checksum}000000004846504b454e4401`);
});

test("every altered byte and every cut of a pack's end is noticed", async () => {
  const { bytes, frames } = SMALL;
  const endAt = frames[2].offset + frames[2].length;
  for (let at = endAt; at < bytes.length; at++) {
    for (const mask of [0x01, 0x80, 0xff]) {
      const altered = Buffer.from(bytes);
      altered[at] ^= mask;
      await assert.rejects(
        readDirectory(storageUnder(SMALL_NAME, altered), SMALL_NAME, bytes.length),
        DamagedError,
        `byte ${at}`,
      );
    }
  }
  for (let length = 0; length < bytes.length; length++) {
    const cut = storageUnder(SMALL_NAME, bytes.subarray(0, length));
    await assert.rejects(readDirectory(cut, SMALL_NAME, length), DamagedError, `cut to ${length}`);
  }
});

function storageUnder(hash: string, bytes: Buffer): Storage {
  const get = async (name: string, range: ByteRange) => {
    assert.equal(name, packObjectName(hash));
    return bytes.subarray(range.offset, range.offset + range.length);
  };
  return { location: "test", get } as unknown as Storage;
}

test("damage names the pack", async () => {
  const altered = Buffer.from(SMALL.bytes);
  altered[altered.length - 1] ^= 1;
  await assert.rejects(
    readDirectory(storageUnder(SMALL_NAME, altered), SMALL_NAME, altered.length),
    (error) => error instanceof DamagedError && error.message.includes(SMALL_NAME),
  );
});

test("a directory whose checksum is right and whose content is hostile does no harm", () => {
  const directory = SMALL.bytes.subarray(SMALL.frames[2].offset + SMALL.frames[2].length, -PACK_TRAILER_BYTES);
  assertChangesAreHarmless((bytes) => decodeDirectory(bytes, SMALL.bytes.length, "x"), directory);
});

test("a directory with gaps, overlaps, unknown origins or frames beyond the end is refused", () => {
  const [first, second, third] = SMALL.frames;
  const lists: [FrameLocation[], RegExp][] = [
    [[first, third], /starts at \d+ instead of/],
    [[second, third], /starts at \d+ instead of 24/],
    [[first, first], /starts at 24 instead of/],
    [[first, second], /its frames end at/],
    [[first, second, { ...third, length: third.length + 1 }], /its frames end at/],
    [[{ ...first, length: 10 }], /too short/],
    [[{ ...first, length: 2 ** 25 }], /more than/],
    [[{ ...first, number: 2 ** 31 }], /more than/],
  ];
  const endAt = third.offset + third.length;
  for (const [frames, message] of lists) {
    const end = encodePackEnd(frames);
    const directory = end.subarray(0, -PACK_TRAILER_BYTES);
    assert.throws(() => decodeDirectory(directory, endAt + end.length, "x"), message);
  }
});

test("a directory that claims more than it can hold takes no memory for it", () => {
  for (const claim of ["ffffffff0f", "ffffffffffffff0f", "ffffff7f", "00ffffffff0f", "00ffffff7f"]) {
    const decoded = decodesOrNames((bytes) => decodeDirectory(bytes, 1000, "x"), Buffer.from(`${claim}0000`, "hex"));
    assert.equal(decoded, false);
  }
});

test("a pack of another repository, and what is no pack, is refused", () => {
  checkPackHeader(SMALL.bytes, REPOSITORY);
  assert.throws(() => checkPackHeader(SMALL.bytes, Buffer.alloc(16)), /another repository/);
  assert.throws(() => checkPackHeader(Buffer.alloc(24), REPOSITORY), /does not start as a pack/);
  assert.throws(() => checkPackHeader(SMALL.bytes.subarray(0, 23), REPOSITORY), DamagedError);
});

test("a blob list comes back, from an array of ids and from ids in one piece", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(8 * 1024 * 1024), { minLength: 0, maxLength: 40 }), (lengths) => {
      const ids = lengths.map(() => randomBytes(32));
      const sealed = sealBlobList(INDEX_KEY, REPOSITORY, ORIGIN, 9, ids, lengths);
      assert.deepEqual(
        sealBlobList(INDEX_KEY, REPOSITORY, ORIGIN, 9, Buffer.concat(ids), Uint32Array.from(lengths)),
        sealed,
      );
      const list = openBlobList(INDEX_KEY, REPOSITORY, ORIGIN, 9, sealed);
      assert.deepEqual(list, { ids: Buffer.concat(ids), lengths: Uint32Array.from(lengths) });
    }),
  );
});

test("a sealed blob list has the bytes that the format says", () => {
  const sealed = sealBlobList(INDEX_KEY, REPOSITORY, ORIGIN, 9, [Buffer.alloc(32, 0x66)], [300]);
  assert.equal(
    sealed.toString("hex"),
    "11b0699c8e7e21b9656d1842d6085a4d052463e8a122101a35578cab458ba381ae7cd9093b0d8ca00b8a52b043ab388b7b868c",
  );
});

test("every altered byte and every cut of a blob list is noticed, and it opens nowhere else", () => {
  const sealed = sealBlobList(INDEX_KEY, REPOSITORY, ORIGIN, 9, [Buffer.alloc(32, 1)], [5]);
  assertEveryChangeIsNoticed((bytes) => openBlobList(INDEX_KEY, REPOSITORY, ORIGIN, 9, bytes), sealed);
  assert.throws(() => openBlobList(INDEX_KEY, REPOSITORY, ORIGIN, 8, sealed), DamagedError);
  assert.throws(() => openBlobList(INDEX_KEY, REPOSITORY, OTHER_ORIGIN, 9, sealed), DamagedError);
  assert.throws(() => openBlobList(INDEX_KEY, Buffer.alloc(16), ORIGIN, 9, sealed), DamagedError);
  assert.throws(() => openBlobList(Buffer.alloc(32), REPOSITORY, ORIGIN, 9, sealed), DamagedError);
});

test("equal blobs in two frames give unequal lists", () => {
  const [ids, lengths] = [[Buffer.alloc(32, 1)], [5]];
  const a = sealBlobList(INDEX_KEY, REPOSITORY, ORIGIN, 1, ids, lengths);
  const b = sealBlobList(INDEX_KEY, REPOSITORY, ORIGIN, 2, ids, lengths);
  const c = sealBlobList(INDEX_KEY, REPOSITORY, OTHER_ORIGIN, 1, ids, lengths);
  assert.notDeepEqual(a.subarray(0, 8), b.subarray(0, 8));
  assert.notDeepEqual(a.subarray(0, 8), c.subarray(0, 8));
});

test("names of packs are told from all others", () => {
  const hash = "ab".repeat(32);
  assert.equal(packObjectName(hash), `packs/ab/${hash}`);
  assert.equal(parsePackObjectName(packObjectName(hash)), hash);
  for (const name of [
    `packs/ac/${hash}`,
    `packs/${hash}`,
    `packs/ab/${hash}.tmp`,
    `packs/ab/${hash.slice(1)}`,
    `packs/AB/${hash.toUpperCase()}`,
    `/packs/ab/${hash}`,
    `packs/ab/${hash}\n`,
    "",
  ]) {
    assert.equal(parsePackObjectName(name), undefined, name);
  }
});

test("what a frame stands for is in the pack's directory", () => {
  const { frames } = makePack([{ origin: ORIGIN, number: 3 }]);
  const forwards = [{ origin: OTHER_ORIGIN, number: 9, others: [{ origin: ORIGIN, number: 2 }] }];
  const end = encodePackEnd([{ ...frames[0], forwards }]);
  const packSize = frames[0].offset + frames[0].length + end.length;
  const directory = end.subarray(0, -PACK_TRAILER_BYTES);
  assert.deepEqual(decodeDirectory(directory, packSize, "p"), [{ ...frames[0], forwards }]);
  assert.throws(() => decodeDirectory(directory.subarray(0, -1), packSize - 1, "p"), { code: "damaged" });
});
