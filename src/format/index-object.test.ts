import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { createKeyedHash } from "../crypto/keyed-hash.ts";
import { DamagedError } from "../errors.ts";
import type { BlobColumns, BlobEntries, IndexPack } from "./index-object.ts";
import { decodeIndex, encodeIndex, openBlobSection, packOf, packsOf, sealBlobSection } from "./index-object.ts";
import { assertChangesAreHarmless, assertEveryChangeIsNoticed, decodesOrNames } from "./testing/hostile.ts";

const REPOSITORY = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");
const INDEX_KEY = Buffer.alloc(32, 0x33);
const ORIGIN = Buffer.alloc(32, 0x22);
const OTHER_ORIGIN = Buffer.alloc(32, 0x44);
const SALT = Buffer.alloc(32, 0x55);

interface Blob {
  readonly id: Buffer;
  readonly frame: number;
  readonly place: number;
  readonly length: number;
}

function entriesOf(blobs: readonly Blob[], names: readonly [origin: number, number: number][]): BlobEntries {
  return {
    count: blobs.length,
    ids: Buffer.concat(blobs.map((blob) => blob.id)),
    frames: Uint32Array.from(blobs, (blob) => blob.frame),
    places: Uint16Array.from(blobs, (blob) => blob.place),
    lengths: Uint32Array.from(blobs, (blob) => blob.length),
    frameNames: {
      origins: Buffer.concat([ORIGIN, OTHER_ORIGIN]),
      originIndexes: Uint32Array.from(names, ([origin]) => origin),
      numbers: Uint32Array.from(names, ([, number]) => number),
    },
  };
}

function blobsOf(columns: BlobColumns): Blob[] {
  return Array.from({ length: columns.count }, (_, index) => ({
    id: Buffer.from(columns.ids.subarray(index * 16, index * 16 + 16)),
    frame: columns.frames[index],
    place: columns.places[index],
    length: columns.lengths[index],
  }));
}

const NAMES: [number, number][] = [
  [1, 300],
  [0, 7],
];
const BLOBS: Blob[] = [
  { id: Buffer.alloc(16, 0x99), frame: 0, place: 258, length: 70_000 },
  { id: Buffer.alloc(16, 0x11), frame: 1, place: 1, length: 5 },
  { id: Buffer.alloc(16, 0x77), frame: 0, place: 0, length: 0 },
];
const PACK: IndexPack = {
  name: Buffer.alloc(32, 0x66),
  sizeBytes: 5000,
  frames: [
    { kind: "tree", origin: ORIGIN, number: 300, offset: 24, length: 200, checksum: Buffer.alloc(16, 0x0a) },
    { kind: "data", origin: OTHER_ORIGIN, number: 1, offset: 224, length: 100, checksum: Buffer.alloc(16, 0x0b) },
  ],
};

function encodeOne(packs: readonly IndexPack[], sections: Parameters<typeof encodeIndex>[0]["sections"]): Buffer {
  return Buffer.concat(encodeIndex({ repositoryId: REPOSITORY, packs, sections }));
}

// A change here is a change of format: see docs/format.md, "Index".
test("an index has the bytes that the format says", () => {
  const section = sealBlobSection(INDEX_KEY, REPOSITORY, entriesOf(BLOBS, NAMES), SALT);
  assert.equal(
    encodeOne([PACK], [section]).toString("hex"),
    [
      "4846495801000000",
      REPOSITORY.toString("hex"),
      `02${"22".repeat(32)}${"44".repeat(32)}`,
      `01${"66".repeat(32)}882702`,
      `0200ac0218c801${"0a".repeat(16)}`,
      `010101e00164${"0b".repeat(16)}`,
      "01",
      "0201ac02000703",
      "55".repeat(32),
      "5e",
      // Sealed; what is in it is shown by the next test.
      "9d12c96efe0762ae685207e3eae43dc556b3775b50dd1d8b7f2d53b574736333df843def9d0fa50ae4248033a92d82b31e02a7f9b294c8580b40a6f22a12f876f11673136cdc284dbde91c32520d2f5d503fe4fc10fab5b393f5e17fd843",
    ].join(""),
  );
});

test("a blob section's plaintext is four columns in ascending order of id", () => {
  const section = sealBlobSection(INDEX_KEY, REPOSITORY, entriesOf(BLOBS, NAMES), SALT);
  const iv = Buffer.alloc(12);
  const key = createKeyedHash(INDEX_KEY).hash(SALT);
  const aad = Buffer.concat([REPOSITORY, Buffer.from("01000000", "hex")]);
  const columns = [
    ["11", "77", "99"].map((byte) => byte.repeat(16)).join(""),
    "010000000000000000000000",
    "010000000201",
    "050000000000000070110100",
  ];
  return crypto.subtle
    .importKey("raw", key, "AES-GCM", false, ["decrypt"])
    .then((imported) =>
      crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: aad }, imported, Buffer.from(section.sealed)),
    )
    .then((plain) => assert.equal(Buffer.from(plain).toString("hex"), columns.join("")));
});

test("frames that stand for others have the bytes that the format says, and come back", () => {
  const forwards = [
    { origin: OTHER_ORIGIN, number: 7, others: [{ origin: ORIGIN, number: 299 }] },
    { origin: OTHER_ORIGIN, number: 8, others: [] },
  ];
  const pack: IndexPack = { ...PACK, frames: [{ ...PACK.frames[0], forwards }] };
  const bytes = encodeOne([pack], []);
  const notes = `0201${"44".repeat(32)}07${"22".repeat(32)}ab0200${"44".repeat(32)}08`;
  assert.ok(bytes.toString("hex").endsWith(`8200ac0218c801${"0a".repeat(16)}${notes}00`), bytes.toString("hex"));
  assert.deepEqual([...packsOf(decodeIndex(bytes))], [pack]);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => decodeIndex(bytes.subarray(0, length)), { code: "damaged" });
  }
});

test("packs and frames of an index come back, as columns and as objects", () => {
  const origins = [ORIGIN, OTHER_ORIGIN, randomBytes(32)];
  const frame = fc.tuple(fc.nat(2), fc.nat(2 ** 31 - 1), fc.integer({ min: 69, max: 2 ** 24 }), fc.boolean());
  fc.assert(
    fc.property(fc.array(fc.array(frame, { maxLength: 12 }), { maxLength: 6 }), (lists) => {
      const packs = lists.map((list): IndexPack => {
        let offset = 24;
        const frames = list.map(([place, number, length, isTree]) => {
          offset += length;
          const kind = isTree ? ("tree" as const) : ("data" as const);
          return { kind, origin: origins[place], number, offset: offset - length, length, checksum: randomBytes(16) };
        });
        return { name: randomBytes(32), sizeBytes: offset + 32 + list.length, frames };
      });
      const bytes = encodeOne(packs, []);
      const index = decodeIndex(bytes);
      assert.deepEqual([...packsOf(index)], packs);
      assert.equal(
        index.frames.count,
        packs.reduce((sum, pack) => sum + pack.frames.length, 0),
      );
      assert.ok(encodeOne([...packsOf(index)], []).equals(bytes));
    }),
  );
});

test("blobs come back sorted by id, whatever their number and order", () => {
  // Few different first bytes, so that many ids agree in the four that the radix sort looks at.
  const id = fc
    .tuple(
      fc.constantFrom("00000000", "00000001", "ffffffff", "80000000"),
      fc.uint8Array({ minLength: 12, maxLength: 12 }),
    )
    .map(([head, tail]) => Buffer.concat([Buffer.from(head, "hex"), tail]));
  const blob = fc.record<Blob>(
    {
      id,
      frame: fc.nat(1),
      place: fc.nat(65_535),
      length: fc.nat(8 * 1024 * 1024),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(fc.array(blob, { maxLength: 60 }), (blobs) => {
      const section = sealBlobSection(INDEX_KEY, REPOSITORY, entriesOf(blobs, NAMES));
      const found = blobsOf(openBlobSection(INDEX_KEY, REPOSITORY, section));
      assert.deepEqual(
        found,
        blobs.toSorted((a, b) => Buffer.compare(a.id, b.id)),
      );
    }),
  );
});

/** Blobs with ids in no order, as hashes are. */
function manyBlobs(count: number): BlobEntries {
  const { frameNames } = entriesOf([], NAMES);
  const frames = new Uint32Array(count).map((_, index) => index & 1);
  const places = new Uint16Array(count).map((_, index) => index & 0xffff);
  const lengths = new Uint32Array(count).map((_, index) => index);
  return { count, ids: randomBytes(count * 16), frames, places, lengths, frameNames };
}

for (const count of [40_329, 40_330, 80_660, 200_001]) {
  test(`${count} blobs come back, in one segment or several`, () => {
    const entries = manyBlobs(count);
    const section = sealBlobSection(INDEX_KEY, REPOSITORY, entries);
    const columns = openBlobSection(INDEX_KEY, REPOSITORY, section);
    assert.equal(section.sealed.length, count * 26 + Math.ceil((count * 26) / 2 ** 20) * 16);
    for (let index = 0; index < count; index++) {
      // `lengths` tell where a blob stood before.
      const from = columns.lengths[index];
      const same = columns.ids.compare(entries.ids, from * 16, from * 16 + 16, index * 16, index * 16 + 16) === 0;
      const ascends =
        index === 0 || columns.ids.compare(columns.ids, index * 16 - 16, index * 16, index * 16, index * 16 + 16) > 0;
      if (!same || !ascends || columns.places[index] !== (from & 0xffff) || columns.frames[index] !== (from & 1)) {
        assert.fail(`blob ${index}`);
      }
    }
  });
}

test("a section can be copied into another index, whose origins stand elsewhere", () => {
  const section = sealBlobSection(INDEX_KEY, REPOSITORY, entriesOf(BLOBS, NAMES));
  const first = decodeIndex(encodeOne([], [section]));
  const pack = { ...PACK, frames: [{ ...PACK.frames[0], origin: randomBytes(32) }] };
  const second = decodeIndex(encodeOne([pack], [first.sections[0], section]));
  for (const copied of second.sections) {
    assert.ok(Buffer.from(copied.sealed).equals(section.sealed));
    const { origins, originIndexes, numbers } = copied.frameNames;
    const names = Array.from(originIndexes, (place, index) => [
      Buffer.from(origins.subarray(place * 32, place * 32 + 32)),
      numbers[index],
    ]);
    assert.deepEqual(names, [
      [OTHER_ORIGIN, 300],
      [ORIGIN, 7],
    ]);
    assert.equal(openBlobSection(INDEX_KEY, REPOSITORY, copied).count, 3);
  }
});

test("equal blobs in two sections give unequal bytes", () => {
  const [a, b] = [0, 1].map(() => sealBlobSection(INDEX_KEY, REPOSITORY, entriesOf(BLOBS, NAMES)));
  assert.notDeepEqual(Buffer.from(a.sealed.subarray(0, 8)), Buffer.from(b.sealed.subarray(0, 8)));
});

test("every altered byte and every cut of a blob section is noticed, and it opens with no other key", () => {
  const section = sealBlobSection(INDEX_KEY, REPOSITORY, entriesOf(BLOBS, NAMES));
  const openIt = (sealed: Buffer) => openBlobSection(INDEX_KEY, REPOSITORY, { ...section, sealed });
  assertEveryChangeIsNoticed(openIt, Buffer.from(section.sealed));
  assert.throws(() => openBlobSection(Buffer.alloc(32), REPOSITORY, section), DamagedError);
  assert.throws(() => openBlobSection(INDEX_KEY, Buffer.alloc(16), section), DamagedError);
  assert.throws(() => openBlobSection(INDEX_KEY, REPOSITORY, { ...section, salt: Buffer.alloc(32) }), DamagedError);
});

test("segments cannot be exchanged or left out", () => {
  const section = sealBlobSection(INDEX_KEY, REPOSITORY, manyBlobs(3 * 40_330));
  const segment = 2 ** 20 + 16;
  const sealed = Buffer.from(section.sealed);
  const exchanged = Buffer.concat([
    sealed.subarray(segment, 2 * segment),
    sealed.subarray(0, segment),
    sealed.subarray(2 * segment),
  ]);
  assert.throws(() => openBlobSection(INDEX_KEY, REPOSITORY, { ...section, sealed: exchanged }), DamagedError);
  const count = Math.floor(2 ** 20 / 26);
  const left = { ...section, blobCount: count, sealed: sealed.subarray(0, count * 26 + 16) };
  assert.throws(() => openBlobSection(INDEX_KEY, REPOSITORY, left), DamagedError);
});

test("a blob that names a frame which the section does not is refused", () => {
  const section = sealBlobSection(INDEX_KEY, REPOSITORY, entriesOf([{ ...BLOBS[0], frame: 2 }], NAMES));
  assert.throws(() => openBlobSection(INDEX_KEY, REPOSITORY, section, "index 12"), /index 12 .*names frame 2 of 2/);
});

test("altered, cut and lengthened indexes do no harm", () => {
  const section = sealBlobSection(INDEX_KEY, REPOSITORY, entriesOf(BLOBS, NAMES));
  assertChangesAreHarmless(
    (bytes) => {
      const index = decodeIndex(bytes, "index 12");
      for (let pack = 0; pack < index.packCount; pack++) packOf(index, pack);
      for (const each of index.sections) openBlobSection(INDEX_KEY, REPOSITORY, each);
    },
    encodeOne([PACK, PACK], [section]),
  );
});

test("an index that claims more than it can hold takes no memory for it", () => {
  const start = Buffer.concat([Buffer.from("4846495801000000", "hex"), REPOSITORY]);
  const pack = `01${"66".repeat(32)}8827`;
  const section = "00000100";
  for (const rest of [
    "ffffffff0f",
    "00ffffffff0f",
    "00ffffff7f",
    `00${pack}ffffff7f`,
    `00${pack}ffffffff0f`,
    "0000ffffff7f",
    `0000${section}`,
    "000001ffffff7f",
    `00000100ffffffff0f${"55".repeat(32)}00`,
    `00000100ffffffff0f${"55".repeat(32)}f0ffffffff03`,
  ]) {
    const bytes = Buffer.concat([start, Buffer.from(rest, "hex"), Buffer.alloc(60)]);
    assert.equal(
      decodesOrNames((given) => decodeIndex(given), bytes),
      false,
      rest,
    );
  }
});

test("a section whose length does not fit its number of blobs is refused before it is opened", () => {
  const section = sealBlobSection(INDEX_KEY, REPOSITORY, entriesOf(BLOBS, NAMES));
  for (const blobCount of [0, 2, 4, 2 ** 32 - 1]) {
    const bytes = encodeOne([], [{ ...section, blobCount }]);
    assert.throws(() => decodeIndex(bytes), /blobs cannot be sealed in 94 bytes/);
    assert.throws(() => openBlobSection(INDEX_KEY, REPOSITORY, { ...section, blobCount }), /cannot be in 94 bytes/);
  }
});

test("frames with gaps, of unknown origin or beyond their pack are refused", () => {
  const [first, second] = PACK.frames;
  const refused: [IndexPack, RegExp][] = [
    [{ ...PACK, frames: [second] }, /starts at 224 instead of 24/],
    [{ ...PACK, frames: [first, first] }, /starts at 24 instead of 224/],
    [{ ...PACK, sizeBytes: 355 }, /longer than the pack/],
    [{ ...PACK, frames: [{ ...first, length: 60 }] }, /too short/],
    [{ ...PACK, sizeBytes: 2 ** 29 }, /more than/],
  ];
  for (const [pack, message] of refused) assert.throws(() => decodeIndex(encodeOne([pack], [])), message);
  const bytes = encodeOne([PACK], []);
  bytes[24] = 1;
  assert.throws(() => decodeIndex(bytes), DamagedError);
});
