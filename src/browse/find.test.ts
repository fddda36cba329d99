import assert from "node:assert/strict";
import { test } from "node:test";
import { rawPathFromText } from "../platform/raw-path.ts";
import type { DirectoryEntry } from "../format/tree.ts";
import { createFinder, type FindOptions, type Finder, type FindQuery } from "./find.ts";
import type { SnapshotView } from "./snapshot-view.ts";
import { createBlobStore, madeUpFile, madeUpFolder, madeUpLink, madeUpSnapshot } from "./testing/memory-snapshot.ts";

const HOME = {
  ann: madeUpFolder({
    "Notes.txt": madeUpFile("1", { mtimeSeconds: 1000 }),
    src: madeUpFolder({
      "main.c": madeUpFile("2", { mtimeSeconds: 2000 }),
      "notes.c": madeUpFile("3", { mtimeSeconds: 3000 }),
    }),
  }),
  bob: madeUpFolder({ "notes.txt": madeUpFile("4", { mtimeSeconds: 4000 }), link: madeUpLink("notes.txt") }),
};

async function found(finder: Finder, view: SnapshotView, options?: FindOptions): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path } of finder.find(view, options)) paths.push(path);
  return paths;
}

const QUERIES: readonly (readonly [FindQuery, string[]])[] = [
  [{ patterns: ["notes.txt"] }, ["home/bob/notes.txt"]],
  [{ patterns: ["notes.txt"], ignoreCase: true }, ["home/ann/Notes.txt", "home/bob/notes.txt"]],
  [{ patterns: ["*.c"] }, ["home/ann/src/main.c", "home/ann/src/notes.c"]],
  [{ patterns: ["/home/ann/*.c"] }, []],
  [{ patterns: ["/home/*/*.txt"] }, ["home/ann/Notes.txt", "home/bob/notes.txt"]],
  [{ patterns: ["src"] }, ["home/ann/src", "home/ann/src/main.c", "home/ann/src/notes.c"]],
  [{ patterns: ["link", "main*"] }, ["home/ann/src/main.c", "home/bob/link"]],
  [{ patterns: ["*notes*"], ignoreCase: true, oldestMs: 2_500_000 }, ["home/ann/src/notes.c", "home/bob/notes.txt"]],
  [{ patterns: ["*notes*"], ignoreCase: true, newestMs: 3_000_000 }, ["home/ann/Notes.txt", "home/ann/src/notes.c"]],
  [{ patterns: ["ann/src"] }, ["home/ann/src", "home/ann/src/main.c", "home/ann/src/notes.c"]],
];

for (const [query, expected] of QUERIES) {
  test(`find ${JSON.stringify(query)}`, async () => {
    const { view } = madeUpSnapshot(madeUpFolder({ home: madeUpFolder(HOME) }));
    assert.deepEqual(await found(createFinder(query), view), expected);
  });
}

test("in several snapshots no tree is read twice, whether it holds matches or not", async () => {
  for (const patterns of [["*.c"], ["/home/ann/src/*"], ["nothing"], ["home"]]) {
    const store = createBlobStore();
    const finder = createFinder({ patterns });
    const changed = [1, 2, 3].map((day) => madeUpFile(String(day)));
    const results: string[][] = [];
    for (const daily of changed) {
      const { view } = madeUpSnapshot(madeUpFolder({ home: madeUpFolder(HOME), daily }), store);
      results.push(await found(finder, view));
    }
    assert.deepEqual(results[1], results[0]);
    assert.deepEqual(results[2], results[0]);
    assert.equal(
      new Set(store.treesRead).size,
      store.treesRead.length,
      `some tree was read twice for ${patterns.join()}`,
    );
  }
});

test("an anchored pattern does not go into folders where it cannot match", async () => {
  const etcFolder = madeUpFolder({ hosts: madeUpFile("h") });
  const { view, store, top } = madeUpSnapshot(madeUpFolder({ home: madeUpFolder(HOME), etc: etcFolder }));
  assert.deepEqual(await found(createFinder({ patterns: ["/etc/*"] }), view), ["etc/hosts"]);
  const etc = etcFolder(store, rawPathFromText("etc")) as DirectoryEntry;
  assert.deepEqual(
    store.treesRead,
    [top.tree, etc.tree].map((id) => Buffer.from(id).toString("hex")),
  );
});

test("the same tree in another place is judged by that place", async () => {
  const same = madeUpFolder({ x: madeUpFile("1") });
  const finder = createFinder({ patterns: ["/a/x"] });
  const { view } = madeUpSnapshot(madeUpFolder({ a: same, b: same }));
  assert.deepEqual(await found(finder, view), ["a/x"]);
});

test("below a folder that matches everything is found, also when the tree was seen elsewhere without a match", async () => {
  const same = madeUpFolder({ x: madeUpFile("1") });
  const { view } = madeUpSnapshot(madeUpFolder({ a: same, hit: same }));
  assert.deepEqual(await found(createFinder({ patterns: ["hit"] }), view), ["hit", "hit/x"]);
});

test("a tree that cannot be read is told for each snapshot, and the rest is searched", async () => {
  const store = createBlobStore();
  const make = (daily: string) =>
    madeUpSnapshot(
      madeUpFolder({
        a: madeUpFolder({ x: madeUpFile("1") }),
        b: madeUpFolder({ x: madeUpFile("2") }),
        daily: madeUpFile(daily),
      }),
      store,
    );
  const views = [make("1").view, make("2").view];
  // Looked up in a view of its own, because views hold what they have read.
  store.lose(((await make("3").view.lookup(rawPathFromText("a"))) as DirectoryEntry).tree);
  const finder = createFinder({ patterns: ["x"] });
  const problems: string[] = [];
  for (const view of views) {
    assert.deepEqual(await found(finder, view, { onProblem: (path) => problems.push(path) }), ["b/x"]);
  }
  assert.deepEqual(problems, ["a", "a"]);
  await assert.rejects(found(createFinder({ patterns: ["x"] }), views[0]), { name: "ObjectMissingError" });
});
