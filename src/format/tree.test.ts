import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { DamagedError } from "../errors.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { anyEntries, anyEntry, anyId, anyName } from "./testing/arbitraries.ts";
import { assertChangesAreHarmless, decodesOrNames } from "./testing/hostile.ts";
import type { ContentBlob, DeviceEntry, DirectoryEntry, FanPart, FileEntry, SymlinkEntry, TreeEntry } from "./tree.ts";
import {
  contentIds,
  createEntryEncoder,
  decodeContentList,
  decodeEntry,
  encodeContentList,
  encodeEntry,
  encodeFan,
  encodeLeaf,
  entryName,
  iterateTree,
  LEAF_HEAD_BYTES,
  leafInPlace,
} from "./tree.ts";

const COMMON = {
  name: "\xff a" as RawPath,
  mode: 0o4755,
  uid: 1000,
  gid: 300,
  user: "ann",
  group: "é",
  mtimeSeconds: -2,
  mtimeNanoseconds: 999_999_999,
  inodeFlags: 0,
  xattrs: [],
  hardLink: undefined,
};

const FILE: FileEntry = {
  ...COMMON,
  type: "file",
  inodeFlags: 5,
  xattrs: [
    { name: "user.a" as RawPath, value: Buffer.from([1, 0]) },
    { name: "user.b" as RawPath, value: Buffer.alloc(0) },
  ],
  hardLink: Buffer.alloc(16, 0x77),
  sizeBytes: 1300,
  content: [{ id: Buffer.alloc(32, 0x11), lengthBytes: 300 }],
  holes: [{ offset: 300, lengthBytes: 1000 }],
};
const DIRECTORY: DirectoryEntry = { ...COMMON, type: "directory", tree: Buffer.alloc(32, 0x22) };
const SYMLINK: SymlinkEntry = { ...COMMON, type: "symlink", target: "../\xfe" as RawPath };
const DEVICE: DeviceEntry = { ...COMMON, type: "block", major: 259, minor: 70_000 };

// Of all entries above: from the flags on to the names.
const COMMON_HEX = ["ed13", "e807", "ac02", "feffffffffffffff", "ffc99a3b", "03ff2061", "03616e6e", "02c3a9"].join("");

// A change here is a change of format: see docs/format.md, "Tree".
const GOLDEN: [TreeEntry, string][] = [
  [
    FILE,
    [
      `6d010f${COMMON_HEX}940a01${"11".repeat(32)}ac02`,
      "0206757365722e6102010006757365722e6200",
      "77".repeat(16),
      "01ac02e80705",
    ].join(""),
  ],
  [
    { ...FILE, xattrs: [], hardLink: undefined, inodeFlags: 0, holes: [], sizeBytes: 300 },
    `440100${COMMON_HEX}ac0201${"11".repeat(32)}ac02`,
  ],
  [
    { ...FILE, xattrs: [], hardLink: undefined, inodeFlags: 0, holes: [], sizeBytes: 300, listed: true },
    `440110${COMMON_HEX}ac0201${"11".repeat(32)}ac02`,
  ],
  [DIRECTORY, `3f0200${COMMON_HEX}${"22".repeat(32)}`],
  [SYMLINK, `240300${COMMON_HEX}042e2e2ffe`],
  [{ ...COMMON, type: "fifo" }, `1f0400${COMMON_HEX}`],
  [{ ...COMMON, type: "socket" }, `1f0500${COMMON_HEX}`],
  [{ ...DEVICE, type: "char" }, `240600${COMMON_HEX}8302f0a204`],
  [DEVICE, `240700${COMMON_HEX}8302f0a204`],
];

for (const [entry, hex] of GOLDEN) {
  test(`a ${entry.type} (${hex.slice(2, 6)}) has the bytes that the format says`, () => {
    assert.equal(encodeEntry(entry).toString("hex"), hex);
  });
}

const PLAIN = { noNullPrototype: true } as const;

test("any entry comes back exactly, wherever it stands", () => {
  fc.assert(
    fc.property(anyEntry, fc.uint8Array({ maxLength: 20 }), (entry, before) => {
      const encoded = encodeEntry(entry);
      assert.deepEqual(decodeEntry(encoded), entry);
      assert.deepEqual(decodeEntry(Buffer.concat([before, encoded]), before.length), entry);
      assert.deepEqual(decodeEntry(new Uint8Array(encoded)), entry);
    }),
    { numRuns: 1000 },
  );
});

test("any directory comes back exactly, decoded and encoded", () => {
  fc.assert(
    fc.property(anyEntries, (entries) => {
      const encoded = entries.map((entry) => encodeEntry(entry));
      const inPlace = Buffer.concat([Buffer.alloc(LEAF_HEAD_BYTES), ...encoded]);
      assert.deepEqual(leafInPlace(inPlace, encoded.length), encodeLeaf(encoded));
      const tree = iterateTree(encodeLeaf(encoded));
      assert.ok(tree.kind === "leaf");
      assert.equal(tree.count, entries.length);
      assert.deepEqual([...tree.entries], entries);
      assert.deepEqual([...tree.encodedEntries], encoded);
      assert.deepEqual([...tree.entries], entries, "once more");
    }),
  );
});

test("any fan comes back exactly", () => {
  const part = fc.record<FanPart>({ id: anyId, count: fc.nat(10_000), firstName: anyName }, PLAIN);
  fc.assert(
    fc.property(fc.uniqueArray(part, { selector: ({ firstName }) => firstName, maxLength: 20 }), (parts) => {
      parts.sort((a, b) => (a.firstName < b.firstName ? -1 : 1));
      assert.deepEqual(iterateTree(encodeFan(parts)), { kind: "fan", parts });
    }),
  );
});

test("any content list comes back exactly", () => {
  const blob = fc.record<ContentBlob>({ id: anyId, lengthBytes: fc.integer({ min: 0, max: 8 * 1024 * 1024 }) }, PLAIN);
  fc.assert(
    fc.property(fc.array(blob), (content) => assert.deepEqual(decodeContentList(encodeContentList(content)), content)),
  );
});

test("trees have the bytes that the format says", () => {
  const entry = encodeEntry(DIRECTORY);
  assert.equal(encodeLeaf([entry]).toString("hex"), `0101${entry.toString("hex")}`);
  assert.equal(encodeLeaf([]).toString("hex"), "0100");
  const parts = [{ id: Buffer.alloc(32, 0x33), count: 300, firstName: "ab" as RawPath }];
  assert.equal(encodeFan(parts).toString("hex"), `0201${"33".repeat(32)}ac02026162`);
  const list = encodeContentList([{ id: Buffer.alloc(32, 0x44), lengthBytes: 300 }]);
  assert.equal(list.toString("hex"), `0301${"44".repeat(32)}ac02`);
});

test("the scanners find in an encoded entry what decoding finds", () => {
  fc.assert(
    fc.property(anyEntry, fc.uint8Array({ maxLength: 9 }), (entry, before) => {
      const bytes = Buffer.concat([before, encodeEntry(entry)]);
      assert.equal(entryName(bytes, before.length), entry.name);
      const found: [Buffer, number, string][] = [];
      const collect = (idOffset: number, lengthBytes: number, kind: string) => {
        found.push([bytes.subarray(idOffset, idOffset + 32), lengthBytes, kind]);
      };
      contentIds(bytes, collect, before.length);
      assert.deepEqual(found, expectedContent(entry));
    }),
    { numRuns: 500 },
  );
});

function expectedContent(entry: TreeEntry): [Uint8Array, number, string][] {
  if (entry.type === "directory") return [[entry.tree, 0, "tree"]];
  if (entry.type !== "file") return [];
  return entry.content.map(({ id, lengthBytes }) => [id, lengthBytes, entry.listed === true ? "list" : "data"]);
}

test("an encoder gives the same bytes as encodeEntry, entry after entry", () => {
  const encoder = createEntryEncoder();
  fc.assert(fc.property(anyEntry, (entry) => assert.deepEqual(encoder.encode(entry), encodeEntry(entry))));
});

test("extended attributes are sorted, so that equal entries have equal bytes", () => {
  const swapped = { ...FILE, xattrs: FILE.xattrs.toReversed() };
  assert.deepEqual(encodeEntry(swapped), encodeEntry(FILE));
});

const UNWRITABLE: [string, TreeEntry][] = [
  ["blobs and holes of another length than its size", { ...FILE, sizeBytes: 1301 }],
  ["a mode with a file type in it", { ...DIRECTORY, mode: 0o40755 }],
  ["nanoseconds above a second", { ...DIRECTORY, mtimeNanoseconds: 1e9 }],
  ["a time that is no whole number", { ...DIRECTORY, mtimeSeconds: 1.5 }],
  ["a name of 256 bytes", { ...DIRECTORY, name: "x".repeat(256) as RawPath }],
  ["an owner below zero", { ...DIRECTORY, uid: -1 }],
  ["a hard link of a directory", { ...DIRECTORY, hardLink: Buffer.alloc(16) }],
  ["a hard link of 15 bytes", { ...FILE, hardLink: Buffer.alloc(15) }],
  ["a tree id of 31 bytes", { ...DIRECTORY, tree: Buffer.alloc(31) }],
];

for (const [name, entry] of UNWRITABLE) {
  test(`an entry with ${name} is not written`, () => assert.throws(() => encodeEntry(entry), RangeError));
}

for (const [entry, hex] of GOLDEN) {
  test(`altered and cut bytes of a ${entry.type} (${hex.slice(2, 6)}) do no harm`, () => {
    const encoded = encodeEntry(entry);
    for (let length = 0; length < encoded.length; length++) {
      assert.throws(() => decodeEntry(encoded.subarray(0, length)), DamagedError);
    }
    assertChangesAreHarmless(
      (bytes) => {
        const tree = iterateTree(bytes);
        if (tree.kind === "leaf") assert.ok([...tree.entries].length === [...tree.encodedEntries].length);
      },
      encodeLeaf([encoded]),
    );
    assertHarmlessToScan(encoded);
  });
}

function assertHarmlessToScan(encoded: Buffer): void {
  for (let at = 0; at < encoded.length; at++) {
    const altered = Buffer.from(encoded);
    altered[at] ^= 0xff;
    decodesOrNames((bytes) => entryName(bytes), altered);
    decodesOrNames((bytes) => contentIds(bytes, () => undefined), altered);
    decodesOrNames((bytes) => contentIds(bytes, () => undefined), encoded.subarray(0, at));
  }
}

test("altered and cut bytes of fans and content lists do no harm", () => {
  const parts = ["a", "b"].map((firstName) => ({ id: randomBytes(32), count: 3, firstName: firstName as RawPath }));
  assertChangesAreHarmless((bytes) => iterateTree(bytes), encodeFan(parts));
  assertChangesAreHarmless((bytes) => decodeContentList(bytes), encodeContentList(FILE.content));
});

/** A leaf of entries in whatever order. */
function leafOf(...names: string[]): Buffer {
  return encodeLeaf(names.map((name) => encodeEntry({ ...DIRECTORY, name: name as RawPath })));
}

const REFUSED: [string, Buffer, RegExp][] = [
  ["names out of order", leafOf("b", "a"), /out of order/],
  ["a name twice", leafOf("a", "a"), /twice/],
  ["an empty name", leafOf(""), /out of order/],
  ["the name .", leafOf("."), /no name of a file/],
  ["the name ..", leafOf("a", ".."), /no name of a file/],
  ["a name with a slash", leafOf("a/b"), /no name of a file/],
  ["a name with a NUL", leafOf("a\0b"), /no name of a file/],
  ["more entries than it holds", Buffer.from("01ffff7f", "hex"), /more than 0 bytes can hold/],
  [
    "fewer entries than it holds",
    Buffer.concat([Buffer.from("0101", "hex"), leafOf("a", "b").subarray(2)]),
    /too many/,
  ],
  ["an unknown kind", Buffer.from("0900", "hex"), /type of tree 9/],
  ["nothing in it", Buffer.alloc(0), /needs 1 bytes/],
  ["parts out of order", encodeFan(["b", "a"].map(partOf)), /out of order/],
  ["more parts than it holds", Buffer.from("02ffffff7f", "hex"), /more than 0 bytes can hold/],
];

function partOf(firstName: string): FanPart {
  return { id: Buffer.alloc(32), count: 1, firstName: firstName as RawPath };
}

for (const [name, bytes, message] of REFUSED) {
  test(`a tree with ${name} is refused by name`, () => {
    const walk = (side: "entries" | "encodedEntries") => () => {
      const tree = iterateTree(bytes, "tree of /home");
      if (tree.kind === "leaf") Array.from<unknown>(tree[side]);
    };
    for (const side of ["entries", "encodedEntries"] as const) {
      assert.throws(walk(side), (error) => {
        return (
          error instanceof DamagedError && error.message.startsWith("tree of /home") && message.test(error.message)
        );
      });
    }
  });
}

function changed(entry: TreeEntry, change: (bytes: Buffer) => void): Buffer {
  const encoded = encodeEntry(entry);
  change(encoded);
  return encoded;
}

const HOLES: FileEntry["holes"] = [
  { offset: 100, lengthBytes: 20 },
  { offset: 120, lengthBytes: 30 },
];
const SPARSE: FileEntry = {
  ...COMMON,
  type: "file",
  sizeBytes: 150,
  content: [{ id: Buffer.alloc(32), lengthBytes: 100 }],
  holes: HOLES,
};
const SPARSE_END = encodeEntry(SPARSE).length;

const BAD_ENTRIES: [string, Buffer, RegExp][] = [
  ["an unknown type", changed(DIRECTORY, (bytes) => (bytes[1] = 8)), /file type 8 is unknown/],
  ["type 0", changed(DIRECTORY, (bytes) => (bytes[1] = 0)), /file type 0 is unknown/],
  ["an unknown flag", changed(DIRECTORY, (bytes) => (bytes[2] = 0x20)), /flags 32 is more/],
  ["holes in a directory", changed(DIRECTORY, (bytes) => (bytes[2] = 4)), /holes or lists/],
  ["lists in a directory", changed(DIRECTORY, (bytes) => (bytes[2] = 16)), /holes or lists/],
  ["holes that overlap", changed(SPARSE, (bytes) => (bytes[SPARSE_END - 2] = 119)), /overlap/],
  ["holes beyond its end", changed(SPARSE, (bytes) => (bytes[SPARSE_END - 1] = 31)), /beyond/],
  ["an empty hole", changed(SPARSE, (bytes) => (bytes[SPARSE_END - 3] = 0)), /overlap/],
];

for (const [name, bytes, message] of BAD_ENTRIES) {
  test(`an entry with ${name} is refused`, () => {
    assert.throws(
      () => decodeEntry(bytes),
      (error) => error instanceof DamagedError && message.test(error.message),
    );
  });
}

test("an entry that claims many blobs, attributes or holes takes no memory for them", () => {
  const encoded = encodeEntry({ ...FILE, xattrs: [], hardLink: undefined, inodeFlags: 0, holes: [], sizeBytes: 300 });
  const countAt = encoded.length - 32 - 2 - 1;
  for (const number of ["ffffff7f", "ffffffff0f", "ffffffffffffff0f"]) {
    const claiming = Buffer.from(encoded);
    claiming.write(number, countAt, "hex");
    assert.equal(
      decodesOrNames((bytes) => decodeEntry(bytes), claiming),
      false,
    );
  }
});
