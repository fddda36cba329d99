import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { cursorOf, mergeCursors, type NameCursor, spillNames } from "./name-cursor.ts";
import type { RawPath } from "./raw-path.ts";
import { createSpillFile } from "./spill-file.ts";

const places = (folder: string): readonly (readonly [where: string, folder: string])[] => [
  ["in a file", folder],
  ["in memory, where no file can be made", `${folder}/is-not-there`],
];

test("what was spilled is read back from any place in it", (t) => {
  for (const [where, folder] of places(temporaryFolder(t))) {
    const file = createSpillFile(folder);
    const pieces = ["one", "", "two and more", "three"].map((text) => Buffer.from(text));
    const starts = pieces.map((piece) => file.append(piece));
    for (const [number, piece] of pieces.entries()) {
      for (let skipped = 0; skipped <= piece.length; skipped++) {
        const into = Buffer.alloc(piece.length - skipped);
        assert.equal(file.read(starts[number] + skipped, into), into.length, where);
        assert.deepEqual(into, piece.subarray(skipped), where);
      }
    }
    file.close();
  }
});

test("the file has no name", (t) => {
  const folder = temporaryFolder(t);
  const file = createSpillFile(folder);
  file.append(Buffer.from("names of files are nobody's business"));
  assert.deepEqual(readdirSync(folder), []);
  file.close();
});

function drained(cursor: NameCursor): string[] {
  const names: string[] = [];
  for (; cursor.next !== undefined; cursor.advance()) names.push(cursor.next);
  return names;
}

test("spilled names come back merged, in order, and each once", (t) => {
  const long = (letter: string): RawPath => letter.repeat(255) as RawPath;
  const runs = [
    // More than is read at once.
    Array.from({ length: 500 }, (_, number) => `${String(number).padStart(4, "0")}${long("x").slice(9)}` as RawPath),
    ["\u0001", "\n", "-", "a", "a/", "\u00ff", "\u00ff\u00ff"] as RawPath[],
    [long("a"), long("b")],
    [],
    ["a", "b"] as RawPath[],
  ];
  const expected = [...new Set(runs.flat())].sort();
  for (const [where, folder] of places(temporaryFolder(t))) {
    const file = createSpillFile(folder);
    const cursors = runs.map((run, number) => (number === 4 ? cursorOf(run) : spillNames(file, run)));
    assert.deepEqual(drained(mergeCursors(cursors)), expected, where);
    file.close();
  }
});
