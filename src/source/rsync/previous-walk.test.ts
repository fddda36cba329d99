import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { DirectoryEntry, TreeEntry } from "../../format/tree.ts";
import type { SourceEntry } from "../source.ts";
import { PreviousWalk, type PreviousTree } from "./previous-walk.ts";

/** Folders by name; anything else is a file. */
interface Folder {
  readonly [name: string]: Folder | "file";
}

const { folder } = fc.letrec<{ folder: Folder }>((tie) => ({
  folder: fc.dictionary(
    fc.constantFrom("a", "b", "b.c", "b0", "c", "\u00e4"),
    fc.oneof({ depthSize: "small", withCrossShrink: true }, fc.constant("file" as const), tie("folder")),
    { maxKeys: 4, noNullPrototype: true },
  ),
}));

const byName = ([a]: [string, unknown], [b]: [string, unknown]): number => (a < b ? -1 : 1);

/** Each path below a folder, in walk order, with what is there. */
function pathsOf(tree: Folder, above = ""): [path: string, what: Folder | "file"][] {
  return Object.entries(tree)
    .sort(byName)
    .flatMap(([name, what]) => {
      const path = above === "" ? name : `${above}/${name}`;
      return [[path, what], ...(what === "file" ? [] : pathsOf(what, path))] as [string, Folder | "file"][];
    });
}

function treeOf(top: Folder): PreviousTree {
  const contents = new Map<TreeEntry, Folder>();
  const entryOf = (name: string, what: Folder | "file"): TreeEntry => {
    const entry = { name, type: what === "file" ? "file" : "directory" } as unknown as TreeEntry;
    if (what !== "file") contents.set(entry, what);
    return entry;
  };
  return {
    top: entryOf("", top) as DirectoryEntry,
    lookup: () => Promise.reject(new Error("not asked here")),
    async *list(directory) {
      const entries = Object.entries(contents.get(directory) ?? {}).sort(byName);
      for (const [name, what] of entries) yield await Promise.resolve(entryOf(name, what));
    },
  };
}

function entryAt(path: string, what: Folder | "file"): SourceEntry {
  const parts = path === "" ? [] : path.split("/");
  const type = what === "file" ? "file" : "directory";
  return { path, name: parts.at(-1) ?? "", depth: parts.length, stat: { type } } as unknown as SourceEntry;
}

test("gives what stood at each place, and tells what is gone, but for what is not looked at", async () => {
  const skips = fc.func(fc.nat(9).map((number) => number === 0));
  await fc.assert(
    fc.asyncProperty(folder, folder, skips, async (before, now, isSkipped) => {
      const gone: string[] = [];
      const walk = new PreviousWalk(treeOf(before), (path) => gone.push(path));
      const [old, all] = [new Map(pathsOf(before)), pathsOf(now)];
      const expectedGone = new Set(old.keys());
      let skipped: string | undefined;
      await walk.before(entryAt("", now));
      for (const [path, what] of all) {
        expectedGone.delete(path);
        if (skipped !== undefined && path.startsWith(`${skipped}/`)) continue;
        const found = await walk.before(entryAt(path, what));
        const expected = old.get(path);
        assert.equal(
          found?.type,
          expected === undefined ? undefined : expected === "file" ? "file" : "directory",
          path,
        );
        if (what === "file" || !isSkipped(path)) continue;
        walk.skip(entryAt(path, what));
        skipped = path;
        // A skipped folder is unchanged.
        for (const each of expectedGone) if (each.startsWith(`${path}/`)) expectedGone.delete(each);
      }
      await walk.end();
      assert.deepEqual(gone.sort(), [...expectedGone].sort());
    }),
    { numRuns: 300 },
  );
});
