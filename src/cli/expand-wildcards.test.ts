import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { rawPathFromBytes, rawPathFromText, rawPathToBytes, type RawPath } from "../platform/raw-path.ts";
import { expandWildcards } from "./expand-wildcards.ts";

test("wildcards in lists of paths stand for what they match, one part of a path at a time", (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(path.join(folder, "a/b"), { recursive: true });
  const strange = Buffer.concat([Buffer.from(path.join(folder, "x")), Buffer.from([0xff, 0x2e, 0x74])]);
  for (const name of ["a/1.txt", "a/b/2.txt", ".hidden", "{a,b}", "+(a)", "a[1]", "voilà", "é"]) {
    writeFileSync(path.join(folder, name), "");
  }
  writeFileSync(strange, "");

  const found = (pattern: string) =>
    expandWildcards(rawPathFromText(path.join(folder, pattern))).map((one) => path.relative(folder, one));
  const cases: [pattern: string, matches: string[]][] = [
    ["a/*.txt", ["a/1.txt"]],
    ["*/b/*", ["a/b/2.txt"]],
    ["*/*/2.txt", ["a/b/2.txt"]],
    [".h*", [".hidden"]],
    ["?idden", ["?idden"]],
    ["?hidden", [".hidden"]],
    ["a\\[1\\]", ["a[1]"]],
    ["a[[]1]", ["a[1]"]],
    ["{a,b}", ["{a,b}"]],
    ["+(?)", ["+(a)"]],
    ["nothing*", ["nothing*"]],
    ["nothing*/a", ["nothing*/a"]],
    ["a/1.txt/*", ["a/1.txt/*"]],
  ];
  for (const [pattern, matches] of cases) assert.deepEqual(found(pattern), matches, pattern);
  assert.deepEqual(expandWildcards(rawPathFromText(path.join(folder, "?"))).map(nameOf), ["a", "é"]);
  assert.deepEqual(expandWildcards(rawPathFromText(path.join(folder, "x*.t"))), [rawPathFromBytes(strange)]);
  assert.deepEqual(expandWildcards("/[e]t[c]" as RawPath), ["/etc"]);
  assert.throws(() => expandWildcards("/etc/[a" as RawPath), { code: "usage" });
});

function nameOf(found: RawPath): string {
  return path.basename(rawPathToBytes(found).toString("utf8"));
}
