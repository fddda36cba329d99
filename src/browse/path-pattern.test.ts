import assert from "node:assert/strict";
import { test } from "node:test";
import { rawPathFromText, type RawPath } from "../platform/raw-path.ts";
import { compilePathPattern, matchablePath } from "./path-pattern.ts";

function matches(pattern: string, path: string, ignoreCase = false): boolean {
  return compilePathPattern(pattern, { ignoreCase }).matches(matchablePath(rawPathFromText(path)));
}

function mayMatchBelow(pattern: string, folder: string): boolean {
  return compilePathPattern(pattern, { ignoreCase: false }).mayMatchBelow(matchablePath(rawPathFromText(folder)));
}

const MATCHING: readonly (readonly [pattern: string, path: string])[] = [
  ["notes", "home/ann/notes"],
  ["notes", "notes"],
  ["notes", "home/notes/2024/may"],
  ["*.c", "src/main.c"],
  ["*.c", "src/dir.c/file"],
  ["ann/*.c", "home/ann/x.c"],
  ["/home/*/x.c", "home/ann/x.c"],
  ["/home", "home/ann"],
  ["/", "anything/at/all"],
  ["", "anything"],
  ["./notes/", "home/notes"],
  ["**/x", "x"],
  ["**/x", "a/b/x"],
  ["/a/**/x", "a/x"],
  ["/a/**/x", "a/b/c/x"],
  ["/a/**", "a"],
  ["/a/**", "a/b/c"],
  ["a/**/b/**/c", "z/a/1/2/b/c"],
  ["**", "a/b"],
  ["?", "é"],
  ["??", "日本"],
  ["[a-c]x", "bx"],
  ["[^a-c]x", "dx"],
  ["[!a-c]x", "dx"],
  ["[]]", "]"],
  ["[a\\]]", "]"],
  ["[é-ü]", "ö"],
  ["\\*", "*"],
  ["\\[a]", "[a]"],
  ["a b", "dir/a b"],
  ["a.b", "a.b"],
  ["(a|b){2}$^+", "(a|b){2}$^+"],
  ["new\nline*", "new\nline\nmore"],
  ["-", "-"],
  ["[a-]", "-"],
];

for (const [pattern, path] of MATCHING) {
  test(`the pattern ${JSON.stringify(pattern)} matches ${JSON.stringify(path)}`, () => {
    assert.equal(matches(pattern, path), true);
  });
}

const NOT_MATCHING: readonly (readonly [pattern: string, path: string])[] = [
  ["note", "home/notes"],
  ["otes", "home/notes"],
  ["*.c", "main.cc"],
  ["/ann", "home/ann"],
  ["/home/ann/x", "home/ann"],
  ["*", ""],
  ["a/b", "a/x/b"],
  ["a*b", "a/b"],
  ["a?b", "a/b"],
  ["a[^x]b", "a/b"],
  ["/a/**/x", "b/x"],
  ["a.b", "axb"],
  ["\\*", "x"],
  ["[a-c]x", "dx"],
  ["NOTES", "notes"],
  ["?", "ab"],
];

for (const [pattern, path] of NOT_MATCHING) {
  test(`the pattern ${JSON.stringify(pattern)} does not match ${JSON.stringify(path)}`, () => {
    assert.equal(matches(pattern, path), false);
  });
}

test("case is ignored only when asked to, beyond ASCII too", () => {
  assert.equal(matches("NOTES*", "home/notes.txt", true), true);
  assert.equal(matches("ÄPFEL", "äpfel", true), true);
  assert.equal(matches("ÄPFEL", "äpfel", false), false);
});

test("a part that is not UTF-8 does not hide the parts beside it", () => {
  const path = `caf\xff/${rawPathFromText("über")}` as RawPath;
  assert.equal(compilePathPattern("über", { ignoreCase: false }).matches(matchablePath(path)), true);
  assert.equal(compilePathPattern("caf?", { ignoreCase: false }).matches(matchablePath(path)), true);
});

const BELOW: readonly (readonly [pattern: string, folder: string, may: boolean])[] = [
  ["/home/ann/*.c", "home", true],
  ["/home/ann/*.c", "home/ann", true],
  ["/home/ann/*.c", "home/bob", false],
  ["/home/ann/*.c", "", true],
  ["/home/ann/*.c", "homes", false],
  ["/home/ann", "home/ann/deeper", true],
  ["/a/**/x", "a/b/c", true],
  ["/a/**/x", "b", false],
  ["x", "any/where", true],
];

for (const [pattern, folder, may] of BELOW) {
  test(`below "${folder}" something ${may ? "may" : "cannot"} match ${pattern}`, () => {
    assert.equal(mayMatchBelow(pattern, folder), may);
  });
}

for (const pattern of ["[a", "a\\", "[b-a]", "x/[", "[^"]) {
  test(`${pattern} is refused as no pattern`, () => {
    assert.throws(() => compilePathPattern(pattern, { ignoreCase: false }), {
      name: "UsageError",
      message: /is no pattern/,
    });
  });
}

test("many stars in a row stay fast", () => {
  assert.equal(matches(`${"*".repeat(200)}x`, "a".repeat(255)), false);
});
