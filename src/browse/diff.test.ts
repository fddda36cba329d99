import assert from "node:assert/strict";
import { test } from "node:test";
import { rawPathFromText } from "../platform/raw-path.ts";
import type { DirectoryEntry } from "../format/tree.ts";
import { diffSnapshots, type DiffStatistics } from "./diff.ts";
import {
  createBlobStore,
  madeUpDevice,
  madeUpFile,
  madeUpFolder,
  madeUpLink,
  madeUpSnapshot,
  type MadeUpEntry,
} from "./testing/memory-snapshot.ts";

type Children = Readonly<Record<string, MadeUpEntry>>;

async function diff(
  before: Children,
  after: Children,
  metadata = false,
): Promise<{ changes: string[]; statistics: DiffStatistics; treesRead: number }> {
  const store = createBlobStore();
  const changes: string[] = [];
  const [old, fresh] = [madeUpSnapshot(madeUpFolder(before), store), madeUpSnapshot(madeUpFolder(after), store)];
  const statistics = await diffSnapshots(old.view, fresh.view, {
    metadata,
    onChange: (change) => changes.push(`${change.kind} ${change.path}`),
  });
  return { changes, statistics, treesRead: store.treesRead.length };
}

const ROWS: readonly { name: string; before: Children; after: Children; changes: string[]; withMetadata?: string[] }[] =
  [
    { name: "nothing changed", before: { a: madeUpFile("1") }, after: { a: madeUpFile("1") }, changes: [] },
    { name: "a file was added", before: {}, after: { a: madeUpFile("1") }, changes: ["+ a"] },
    { name: "a file was removed", before: { a: madeUpFile("1") }, after: {}, changes: ["- a"] },
    {
      name: "a folder was added with what is in it",
      before: { z: madeUpFile("1") },
      after: { a: madeUpFolder({ b: madeUpFolder({ c: madeUpFile("1") }) }), z: madeUpFile("1") },
      changes: ["+ a", "+ a/b", "+ a/b/c"],
    },
    {
      name: "content was modified",
      before: { a: madeUpFile("1") },
      after: { a: madeUpFile("22", { mtimeSeconds: 5 }) },
      changes: ["M a"],
    },
    {
      name: "content was modified and nothing else",
      before: { a: madeUpFile("1") },
      after: { a: madeUpFile("2") },
      changes: ["M? a"],
    },
    {
      name: "only where the holes are was modified",
      before: { a: madeUpFile("1", { holes: [{ offset: 0, lengthBytes: 4 }] }) },
      after: { a: madeUpFile("1", { holes: [{ offset: 1, lengthBytes: 4 }], mtimeSeconds: 5 }) },
      changes: ["M a"],
    },
    {
      name: "only attributes were updated",
      before: { a: madeUpFile("1"), d: madeUpFolder({}), x: madeUpFile("") },
      after: {
        a: madeUpFile("1", { mode: 0o600 }),
        d: madeUpFolder({}, { uid: 5 }),
        x: madeUpFile("", { xattrs: [{ name: rawPathFromText("user.a"), value: Buffer.from("1") }] }),
      },
      changes: [],
      withMetadata: ["U a", "U d", "U x"],
    },
    {
      name: "a link points elsewhere, a device is another",
      before: { l: madeUpLink("a"), n: madeUpDevice("char", 1, 3) },
      after: { l: madeUpLink("b"), n: madeUpDevice("char", 1, 5) },
      changes: ["M l", "M n"],
    },
    {
      name: "a folder became a file, and a file a folder",
      before: { a: madeUpFolder({ x: madeUpFile("1") }), b: madeUpFile("2") },
      after: { a: madeUpFile("1"), b: madeUpFolder({ y: madeUpFile("2") }) },
      changes: ["T a", "- a/x", "T b", "+ b/y"],
    },
    {
      name: "names interleave",
      before: { a: madeUpFile("1"), c: madeUpFile("3"), e: madeUpFile("5") },
      after: { b: madeUpFile("2"), c: madeUpFile("3"), d: madeUpFile("4"), f: madeUpFile("6") },
      changes: ["- a", "+ b", "+ d", "- e", "+ f"],
    },
  ];

for (const { name, before, after, changes, withMetadata } of ROWS) {
  test(`diff tells that ${name}`, async () => {
    assert.deepEqual((await diff(before, after)).changes, changes);
    assert.deepEqual((await diff(before, after, true)).changes, withMetadata ?? changes);
  });
}

test("the statistics count entries, blobs and bytes of each side alone", async () => {
  const { statistics } = await diff(
    { keep: madeUpFile("kept"), gone: madeUpFolder({ f: madeUpFile(["abc", "shared"]) }), changed: madeUpFile("one") },
    {
      keep: madeUpFile("kept"),
      fresh: madeUpFile(["shared", "12345"]),
      link: madeUpLink("x"),
      changed: madeUpFile("two2"),
    },
  );
  assert.deepEqual(statistics, {
    changedFiles: 1,
    added: { files: 1, directories: 0, others: 1, dataBlobs: 2, dataBytes: 9, treeBlobs: 1 },
    removed: { files: 1, directories: 1, others: 0, dataBlobs: 2, dataBytes: 6, treeBlobs: 2 },
  });
});

function numberedFiles(from: number, to: number): Children {
  const numbers = Array.from({ length: to - from }, (_, index) => from + index);
  return Object.fromEntries(numbers.map((number) => [`f${number}`, madeUpFile(`content ${number}`)]));
}

test("many blobs are tallied exactly", async () => {
  const { statistics } = await diff(numberedFiles(0, 3000), numberedFiles(1000, 5000));
  assert.equal(statistics.added.dataBlobs, 2000);
  assert.equal(statistics.removed.dataBlobs, 1000);
});

test("pieces that stand in lists are counted one by one", async () => {
  const { changes, statistics } = await diff(
    { f: madeUpFile(["aa", "bb", "cc"], { blobsInList: 2 }), same: madeUpFile(["x", "y"], { blobsInList: 1 }) },
    { f: madeUpFile(["aa", "bb", "dddd"], { blobsInList: 2 }), same: madeUpFile(["x", "y"], { blobsInList: 1 }) },
  );
  assert.deepEqual(changes, ["M f"]);
  assert.deepEqual([statistics.added.dataBlobs, statistics.added.dataBytes], [1, 4]);
  assert.deepEqual([statistics.removed.dataBlobs, statistics.removed.dataBytes], [1, 2]);
});

test("folders with one and the same tree are not read", async () => {
  const large = madeUpFolder({ deep: madeUpFolder({ x: madeUpFile("1") }) });
  const { changes, treesRead } = await diff({ large, a: madeUpFile("1") }, { large, b: madeUpFile("1") });
  assert.deepEqual(changes, ["- a", "+ b"]);
  assert.equal(treesRead, 2);
});

test("a folder that cannot be read is told, and the others are compared", async () => {
  const store = createBlobStore();
  const old = madeUpSnapshot(madeUpFolder({ a: madeUpFolder({ x: madeUpFile("1") }), b: madeUpFile("1") }), store);
  const fresh = madeUpSnapshot(madeUpFolder({ a: madeUpFolder({ x: madeUpFile("2") }), c: madeUpFile("1") }), store);
  const lost = madeUpSnapshot(madeUpFolder({ a: madeUpFolder({ x: madeUpFile("2") }), c: madeUpFile("1") }), store);
  store.lose(((await lost.view.lookup(rawPathFromText("a"))) as DirectoryEntry).tree);
  const changes: string[] = [];
  const problems: string[] = [];
  const onChange = ({ kind, path }: { kind: string; path: string }): unknown => changes.push(`${kind} ${path}`);
  await diffSnapshots(old.view, fresh.view, { onChange, onProblem: (path) => problems.push(path) });
  assert.deepEqual(changes, ["- b", "+ c"]);
  assert.deepEqual(problems, ["a"]);
  await assert.rejects(diffSnapshots(old.view, fresh.view, { onChange }), { name: "ObjectMissingError" });
});
