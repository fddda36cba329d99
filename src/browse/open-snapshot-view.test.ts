import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { DamagedError, ObjectMissingError } from "../errors.ts";
import { encodeFan, type DirectoryEntry, type FileEntry } from "../format/tree.ts";
import { rawPathFromText, type RawPath } from "../platform/raw-path.ts";
import type { SnapshotView } from "./snapshot-view.ts";
import { walk } from "./walk.ts";
import { createBlobStore, madeUpFile, madeUpFolder, madeUpLink, madeUpSnapshot } from "./testing/memory-snapshot.ts";

const raw = rawPathFromText;

async function namesIn(view: SnapshotView, path: string): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of view.list((await view.lookup(raw(path))) as DirectoryEntry)) names.push(entry.name);
  return names;
}

async function fileAt(view: SnapshotView, path: string): Promise<FileEntry> {
  return (await view.lookup(raw(path))) as FileEntry;
}

/** A folder of many files, stored in parts of three. */
function fan(count: number): ReturnType<typeof madeUpFolder> {
  const files = Array.from({ length: count }, (_, index) => [
    `f${String(index).padStart(3, "0")}`,
    madeUpFile(String(index)),
  ]);
  return madeUpFolder(Object.fromEntries(files) as Record<string, ReturnType<typeof madeUpFile>>, { partSize: 3 });
}

test("entries are found by their path, with or without slashes around it", async () => {
  const { view } = madeUpSnapshot(
    madeUpFolder({ home: madeUpFolder({ ann: madeUpFolder({ notes: madeUpFile("x") }) }) }),
  );
  for (const path of ["home/ann/notes", "/home/ann/notes", "home//ann/notes/"]) {
    assert.equal((await view.lookup(raw(path)))?.name, "notes", path);
  }
  assert.equal(await view.lookup(raw("/")), view.top);
  for (const path of ["home/bob", "home/ann/notes/x", "home/..", "no", "home/./ann"]) {
    assert.equal(await view.lookup(raw(path)), undefined, path);
  }
});

test("looking up a path does not follow links", async () => {
  const { view } = madeUpSnapshot(
    madeUpFolder({ real: madeUpFolder({ file: madeUpFile("x") }), link: madeUpLink("real") }),
  );
  assert.equal((await view.lookup(raw("link")))?.type, "symlink");
  assert.equal(await view.lookup(raw("link/file")), undefined);
});

test("a folder stored in parts lists all its entries in order", async () => {
  const { view } = madeUpSnapshot(madeUpFolder({ large: fan(10) }));
  assert.deepEqual(
    await namesIn(view, "large"),
    Array.from({ length: 10 }, (_, index) => `f00${index}`),
  );
});

test("looking up a name in a folder stored in parts reads the fan and one part alone", async () => {
  const { view, store } = madeUpSnapshot(madeUpFolder({ large: fan(100) }));
  for (const name of ["f000", "f050", "f099"]) {
    const before = store.treesRead.length;
    assert.equal((await view.lookup(raw(`large/${name}`)))?.name, name);
    assert.ok(store.treesRead.length - before <= 3);
  }
  for (const name of ["a", "f0505", "z"]) assert.equal(await view.lookup(raw(`large/${name}`)), undefined);
});

test("a tree that was just read is not read again", async () => {
  const { view, store } = madeUpSnapshot(madeUpFolder({ a: madeUpFolder({ b: madeUpFile("x") }) }));
  await view.lookup(raw("a/b"));
  const reads = store.treesRead.length;
  await view.lookup(raw("a/b"));
  assert.equal(store.treesRead.length, reads);
});

test("a fan whose parts do not fit together is damage that names the folder", async () => {
  const store = createBlobStore();
  const { view, top } = madeUpSnapshot(fan(9), store);
  const { iterateTree } = await import("../format/tree.ts");
  const tree = iterateTree(await store.readTree(top.tree));
  assert.equal(tree.kind, "fan");
  const [first, second, third] = tree.kind === "fan" ? tree.parts : [];
  const wrong = [
    [first, { ...second, id: third.id }],
    [{ ...first, count: 4 }, second],
    [{ ...first, firstName: "a" as RawPath }, second],
    [first, { ...second, id: store.put(encodeFan([second])) }],
    [{ ...second, firstName: "f000" as RawPath }, third],
  ];
  for (const parts of wrong) {
    const folder = madeUpFolder({})(store, "broken" as RawPath) as DirectoryEntry;
    const damaged = { ...folder, tree: store.put(encodeFan(parts)) };
    await assert.rejects(
      async () => {
        for await (const entry of view.list(damaged)) void entry;
      },
      (error) => error instanceof DamagedError && /broken/.test(error.message),
    );
  }
});

test("a missing tree is told with the path of its folder, and a walk can go on without it", async () => {
  const { view, store } = madeUpSnapshot(
    madeUpFolder({ a: madeUpFolder({ gone: madeUpFolder({ x: madeUpFile("1") }), y: madeUpFile("2") }) }),
  );
  store.lose(((await view.lookup(raw("a/gone"))) as DirectoryEntry).tree);
  const problems: string[] = [];
  const paths: string[] = [];
  const onProblem = (path: RawPath, error: unknown): unknown => problems.push(`${path}: ${String(error)}`);
  for await (const { path } of walk(view, { onProblem })) paths.push(path);
  assert.deepEqual(paths, ["", "a", "a/gone", "a/y"]);
  assert.equal(problems.length, 1);
  assert.match(problems[0], /^a\/gone: ObjectMissingError: \/a\/gone: blob .* is missing/);
  await assert.rejects(async () => {
    for await (const entry of walk(view)) void entry;
  }, ObjectMissingError);
});

test("a walk begins where it is told to and enters only what it may", async () => {
  const { view } = madeUpSnapshot(
    madeUpFolder({
      a: madeUpFolder({ b: madeUpFolder({ c: madeUpFile("1") }), d: madeUpFile("2") }),
      e: madeUpFile("3"),
    }),
  );
  const paths: string[] = [];
  const from = { path: raw("a"), entry: (await view.lookup(raw("a")))! };
  for await (const { path } of walk(view, { from, enter: (folder) => folder !== "a/b" })) paths.push(path);
  assert.deepEqual(paths, ["a", "a/b", "a/d"]);
});

test("a file with holes reads as zeros there, and its pieces tell the holes", async () => {
  const holes = [
    { offset: 0, lengthBytes: 5 },
    { offset: 8, lengthBytes: 2 },
    { offset: 12, lengthBytes: 10 },
  ];
  // The second hole lies inside the first blob.
  const { view } = madeUpSnapshot(madeUpFolder({ f: madeUpFile(["abcd", "e"], { holes }) }));
  const file = await fileAt(view, "f");
  const expected = "\0\0\0\0\0abc\0\0de\0\0\0\0\0\0\0\0\0\0";
  assert.equal(Buffer.from(await view.read(file, 0, 100)).toString(), expected);
  const pieces: string[] = [];
  for await (const piece of view.pieces(file)) {
    pieces.push(
      piece.kind === "hole"
        ? `${piece.offset}+${piece.lengthBytes}`
        : `${piece.offset}:${Buffer.from(piece.bytes).toString()}`,
    );
  }
  assert.deepEqual(pieces, ["0+5", "5:abc", "8+2", "10:d", "11:e", "12+10"]);
});

test("any range of any file reads as the file does, also of one whose pieces stand in lists", async () => {
  const part = fc.record({ hole: fc.boolean(), length: fc.integer({ min: 1, max: 40 }) });
  const range = fc.tuple(fc.nat(500), fc.nat(500));
  await fc.assert(
    fc.asyncProperty(
      fc.array(part, { maxLength: 12 }),
      fc.array(fc.nat(30), { maxLength: 8 }),
      range,
      fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      async (parts, cuts, [offset, length], blobsInList) => {
        const holes: { offset: number; lengthBytes: number }[] = [];
        const whole: Buffer[] = [];
        const data: Buffer[] = [];
        let at = 0;
        for (const { hole, length: size } of parts) {
          const bytes = Buffer.from(Array.from({ length: size }, (_, index) => (hole ? 0 : 1 + ((at + index) % 255))));
          const last = holes.at(-1);
          if (!hole) data.push(bytes);
          else if (last !== undefined && last.offset + last.lengthBytes === at) last.lengthBytes += size;
          else holes.push({ offset: at, lengthBytes: size });
          whole.push(bytes);
          at += size;
        }
        // The blobs are cut without regard to the holes.
        const joined = Buffer.concat(data);
        const blobs: Buffer[] = [];
        let from = 0;
        for (const cut of cuts) {
          blobs.push(joined.subarray(from, from + cut));
          from += cut;
        }
        blobs.push(joined.subarray(from));
        const { view } = madeUpSnapshot(madeUpFolder({ f: madeUpFile(blobs, { holes, blobsInList }) }));
        const file = await fileAt(view, "f");
        const expected = Buffer.concat(whole);
        assert.equal(file.sizeBytes, expected.length);
        const actual = Buffer.from(await view.read(file, offset, length));
        assert.ok(actual.equals(expected.subarray(offset, offset + length)));
        const rebuilt = Buffer.alloc(expected.length);
        let next = 0;
        for await (const piece of view.pieces(file)) {
          assert.equal(piece.offset, next);
          if (piece.kind === "data") rebuilt.set(piece.bytes, piece.offset);
          next += piece.kind === "data" ? piece.bytes.length : piece.lengthBytes;
        }
        assert.equal(next, expected.length);
        assert.ok(rebuilt.equals(expected));
      },
    ),
    { numRuns: 200 },
  );
});

test("a file of one huge hole reads without reading anything", async () => {
  const sizeBytes = 100 * 2 ** 30;
  const { view } = madeUpSnapshot(
    madeUpFolder({ f: madeUpFile("", { holes: [{ offset: 0, lengthBytes: sizeBytes }] }) }),
  );
  const file = await fileAt(view, "f");
  assert.deepEqual(await view.read(file, sizeBytes - 3, 10), new Uint8Array(3));
  assert.deepEqual(await view.read(file, sizeBytes, 10), new Uint8Array(0));
});

test("a blob of another length than the tree says is damage that names the file", async () => {
  const store = createBlobStore();
  const { view } = madeUpSnapshot(madeUpFolder({ f: madeUpFile("four") }), store);
  const file = await fileAt(view, "f");
  const wrong = { ...file, content: [{ id: store.put(Buffer.from("abc")), lengthBytes: 4 }] };
  await assert.rejects(
    view.read(wrong, 0, 4),
    (error) => error instanceof DamagedError && /file f is damaged/.test(error.message),
  );
});

test("a list of pieces of another length than its file says is damage that names the file", async () => {
  const { view } = madeUpSnapshot(madeUpFolder({ f: madeUpFile(["ab", "cd"], { blobsInList: 2 }) }));
  const file = await fileAt(view, "f");
  const wrong = { ...file, sizeBytes: 5, content: [{ ...file.content[0], lengthBytes: 5 }] };
  await assert.rejects(view.read(wrong, 0, 4), /file f is damaged/);
});

test("names of any bytes come through", async () => {
  const { view } = madeUpSnapshot(madeUpFolder({ "caf\xe9\n": madeUpFile("x") }, { rawNames: true }));
  assert.equal((await view.lookup("caf\xe9\n" as RawPath))?.type, "file");
});
