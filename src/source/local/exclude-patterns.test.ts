import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { usedMemoryBytes } from "../../../test/support/heap.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { compileExcludes, matchableText } from "./exclude-patterns.ts";

function excluded(patterns: readonly string[], path: string): boolean {
  return compileExcludes({ patterns, patternsIgnoringCase: [] })?.(path) ?? false;
}

describe("exclude patterns", () => {
  const cases: readonly [patterns: readonly string[], excluded: readonly string[], kept: readonly string[]][] = [
    [["*.iso"], ["a.iso", "home/ann/b.iso", "x.iso/"], ["a.iso.txt", "a.isox", "A.ISO"]],
    [["tmp"], ["tmp/", "home/tmp/", "home/tmp/x", "var/tmp"], ["tmpfile", "mytmp"]],
    [["/tmp"], ["tmp/", "tmp/x"], ["home/tmp/", "var/tmp"]],
    [["cache/"], ["home/cache/", "home/cache/x"], ["home/cache"]],
    [["/home/*/.cache"], ["home/ann/.cache/", "home/ann/.cache/x"], ["home/.cache", "home/ann/x/.cache"]],
    [["/home/**/node_modules"], ["home/node_modules/", "home/a/b/node_modules/"], ["srv/node_modules/"]],
    [["/var/log/**"], ["var/log/x", "var/log/a/b"], ["var/log/"]],
    [["file?.txt"], ["file1.txt", "a/fileé.txt"], ["file.txt", "file10.txt", "file/.txt"]],
    [["[abc].txt"], ["a.txt", "x/b.txt"], ["d.txt"]],
    [["#not-a-comment-here"], [], ["#not-a-comment-here"]],
    [["\\#literal"], ["#literal", "a/#literal"], ["literal"]],
    [["\\!literal"], ["!literal"], ["literal"]],
    [["", "  "], [], ["a", " "]],
  ];
  for (const [patterns, excludedPaths, kept] of cases) {
    it(`${JSON.stringify(patterns)} means what gitignore says`, () => {
      for (const path of excludedPaths) assert.equal(excluded(patterns, path), true, path);
      for (const path of kept) assert.equal(excluded(patterns, path), false, path);
    });
  }

  it("with a slash inside may begin at any folder, as in restic", () => {
    for (const pattern of [".cache/pip", "./.cache/pip", ".cache//pip", ".cache/pip/"]) {
      assert.equal(excluded([pattern], "home/ann/.cache/pip/"), true, pattern);
      assert.equal(excluded([pattern], ".cache/pip/x"), true, pattern);
      assert.equal(excluded([pattern], "home/ann/.cache/pipx"), false, pattern);
    }
    assert.equal(excluded(["*.x", "!keep/this.x"], "a/keep/this.x"), false);
  });

  it("are taken back by a later one with !, and again by a later one still", () => {
    const patterns = ["*.log", "!keep.log", "/old/keep.log"];
    assert.equal(excluded(patterns, "a/b.log"), true);
    assert.equal(excluded(patterns, "a/keep.log"), false);
    assert.equal(excluded(patterns, "old/keep.log"), true);
  });

  it("cannot be taken back below a folder that is itself excluded", () => {
    assert.equal(excluded(["/a", "!/a/b"], "a/b"), true);
    assert.equal(excluded(["/a/*", "!/a/b"], "a/b"), false);
  });

  it("ignore case where asked to, apart from those that do not", () => {
    const isExcluded = compileExcludes({ patterns: ["*.txt"], patternsIgnoringCase: ["*.jpg", "été"] });
    for (const path of ["a.txt", "a.jpg", "b/A.JPG", "ÉTÉ"]) assert.equal(isExcluded?.(path), true, path);
    for (const path of ["a.TXT", "a.png"]) assert.equal(isExcluded?.(path), false, path);
  });

  it("cost nothing where there are none", () => {
    assert.equal(compileExcludes({ patterns: ["", "# comment"], patternsIgnoringCase: [] }), undefined);
  });

  it("take names with newlines, and names that are not UTF-8, one character a byte", () => {
    assert.equal(excluded(["a*b"], "a\nb"), true);
    assert.equal(excluded(["caf?"], matchableText("caf\xe9" as RawPath)), true);
    assert.equal(excluded(["café"], matchableText("caf\xc3\xa9" as RawPath)), true);
    assert.equal(excluded(["caf?"], matchableText("caf\xc3\xa9" as RawPath)), true);
  });

  it("remember no more as more paths are asked about", () => {
    const isExcluded = compileExcludes({ patterns: ["*.o"], patternsIgnoringCase: [] });
    const ask = (from: number, count: number): void => {
      for (let index = from; index < from + count; index++) isExcluded?.(`some/folder/with/a/file-${index}`);
    };
    ask(0, 50_000);
    const before = usedMemoryBytes();
    ask(50_000, 400_000);
    const grownBytes = usedMemoryBytes() - before;
    assert.ok(grownBytes < 4 * 2 ** 20, `${grownBytes} bytes`);
  });
});
