/** For tests: any tree entry that can stand in a tree. */
import fc from "fast-check";
import { rawPathFromBytes } from "../../platform/raw-path.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import type { ContentBlob, EntryAttributes, Hole, TreeEntry } from "../tree.ts";

/** A name of 1 to 255 bytes, most of them no UTF-8. */
export const anyName: fc.Arbitrary<RawPath> = fc
  .oneof(
    fc.uint8Array({ minLength: 1, maxLength: 40 }),
    fc.uint8Array({ minLength: 250, maxLength: 255 }),
    fc.constantFrom("a", "…", "\n", "\xff", "x".repeat(255)).map((text) => Buffer.from(text, "utf8").subarray(0, 255)),
  )
  .map((bytes) => bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x41 : byte)))
  .map((bytes) => rawPathFromBytes(bytes))
  .filter((name) => name !== "." && name !== "..");

export const anyId: fc.Arbitrary<Buffer> = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes));

const u32 = fc.oneof(fc.nat(200), fc.integer({ min: 0, max: 0xffff_ffff }), fc.constant(0xffff_ffff));

const anyXattrs = fc
  .uniqueArray(fc.tuple(anyName, fc.uint8Array({ maxLength: 300 })), { selector: ([name]) => name, maxLength: 4 })
  .map((list) =>
    list.map(([name, value]) => ({ name, value: Buffer.from(value) })).sort((a, b) => (a.name < b.name ? -1 : 1)),
  );

const common = {
  name: anyName,
  mode: fc.nat(0o7777),
  uid: u32,
  gid: u32,
  user: fc.oneof(fc.string({ maxLength: 40 }), fc.string({ unit: "grapheme", maxLength: 40 })),
  group: fc.oneof(fc.constant(""), fc.string({ unit: "grapheme", maxLength: 10 })),
  mtimeSeconds: fc.oneof(
    fc.integer({ min: -(2 ** 31), max: 2 ** 32 }),
    fc.maxSafeInteger(),
    fc.constantFrom(-1, 0, Number.MIN_SAFE_INTEGER),
  ),
  mtimeNanoseconds: fc.oneof(fc.nat(999_999_999), fc.constant(999_999_999)),
  inodeFlags: fc.constantFrom(0, 0, 1, 2, 4, 7),
  xattrs: fc.oneof(fc.constant([]), anyXattrs),
};

const hardLink = fc.option(
  fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes)),
  { nil: undefined },
);

/** Pieces and holes that make up a file: each step is so many bytes of data or of hole. */
const anyLayout = fc
  .array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 8 * 1024 * 1024 }), anyId), { maxLength: 12 })
  .chain((steps) => fc.tuple(fc.constant(steps), fc.boolean()))
  .map(([steps, listed]) => {
    const content: ContentBlob[] = [];
    const holes: Hole[] = [];
    let sizeBytes = 0;
    for (const [isHole, lengthBytes, id] of steps) {
      if (isHole) holes.push({ offset: sizeBytes, lengthBytes });
      else content.push({ id, lengthBytes });
      sizeBytes += lengthBytes;
    }
    return listed ? { sizeBytes, content, listed, holes } : { sizeBytes, content, holes };
  });

type Attributes = Omit<EntryAttributes, "type">;

export const anyEntry: fc.Arbitrary<TreeEntry> = fc.oneof(
  fc
    .tuple(fc.record<Attributes>({ ...common, hardLink }), anyLayout)
    .map(([attributes, layout]): TreeEntry => ({ ...attributes, type: "file", ...layout })),
  fc
    .tuple(fc.record<Attributes>({ ...common, hardLink: fc.constant(undefined) }), anyId)
    .map(([attributes, tree]): TreeEntry => ({ ...attributes, type: "directory", tree })),
  fc
    .tuple(fc.record<Attributes>({ ...common, hardLink }), fc.uint8Array({ maxLength: 5000 }))
    .map(([attributes, target]): TreeEntry => ({ ...attributes, type: "symlink", target: rawPathFromBytes(target) })),
  fc
    .tuple(fc.record<Attributes>({ ...common, hardLink }), fc.constantFrom("char", "block"), u32, u32)
    .map(([attributes, type, major, minor]): TreeEntry => ({ ...attributes, type, major, minor })),
  fc
    .tuple(fc.record<Attributes>({ ...common, hardLink }), fc.constantFrom("fifo", "socket"))
    .map(([attributes, type]): TreeEntry => ({ ...attributes, type })),
);

/** Entries of one directory: ascending by name, no name twice. */
export const anyEntries: fc.Arbitrary<TreeEntry[]> = fc
  .uniqueArray(anyEntry, { selector: (entry) => entry.name, maxLength: 20 })
  .map((entries) => entries.sort((a, b) => (a.name < b.name ? -1 : 1)));
