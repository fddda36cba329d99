import assert from "node:assert/strict";
import { test } from "node:test";
import type { TreeEntry } from "../format/tree.ts";
import type { FileStat } from "../platform/file-stat.ts";
import { mayOverwrite, type Overwrite } from "./existing.ts";

const at = (mtimeSeconds: number, mtimeNanoseconds: number) => ({ mtimeSeconds, mtimeNanoseconds });

const ROWS: readonly (readonly [
  overwrite: Overwrite,
  snapshot: ReturnType<typeof at>,
  existing: ReturnType<typeof at>,
  may: boolean,
])[] = [
  ["always", at(1, 0), at(2, 0), true],
  ["if-changed", at(1, 0), at(1, 0), true],
  ["if-newer", at(2, 0), at(1, 999_999_999), true],
  ["if-newer", at(1, 1), at(1, 0), true],
  ["if-newer", at(1, 0), at(1, 0), false],
  ["if-newer", at(1, 0), at(1, 1), false],
  ["if-newer", at(-5, 0), at(-4, 0), false],
  ["never", at(2, 0), at(1, 0), false],
];

for (const [overwrite, snapshot, existing, may] of ROWS) {
  test(`${overwrite}: ${JSON.stringify(snapshot)} ${may ? "may" : "may not"} overwrite ${JSON.stringify(existing)}`, () => {
    assert.equal(mayOverwrite(overwrite, snapshot as TreeEntry, existing as FileStat), may);
  });
}
