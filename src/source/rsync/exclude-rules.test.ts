import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { compileExcludes } from "../local/exclude-patterns.ts";
import { patternsOfLines } from "./exclude-rules.ts";

describe("a file of patterns for another host", () => {
  it("has the rules of gitignore where no line begins with a sign", () => {
    const lines = ["# comment", "*.iso", "", "!keep.iso", ";x", "-", "+x"];
    assert.deepEqual(patternsOfLines(lines), lines);
  });

  const cases: readonly [rules: readonly string[], excluded: readonly string[], kept: readonly string[]][] = [
    [
      ["- *.iso", "- .cache/"],
      ["home/a.iso", "home/ann/.cache/"],
      ["home/a.txt", "home/ann/.cache"],
    ],
    [["+ keep.o", "- *.o"], ["home/x.o"], ["home/keep.o"]],
    [["- *.o", "+ keep.o"], ["home/x.o", "home/keep.o"], ["home/x"]],
    [["*.bak", "+ x.o", "*.o"], ["a.bak", "y.o"], ["x.o"]],
    [
      ["+ *.c", "+ */", "- *"],
      ["home/x", "home/d/y.o"],
      ["home/", "home/d/", "home/d/y.c"],
    ],
    [["# comment", "; another", "", "- a"], ["a"], ["# comment", "; another"]],
    [["- a", "!", "- b"], ["b"], ["a"]],
    [["- /home/ann"], ["home/ann/"], ["srv/home/ann/"]],
    [["- lib/cache/***"], ["var/lib/cache/", "var/lib/cache/x"], ["var/lib/"]],
    [
      ["+ /home/", "+ /home/ann/***", "- *"],
      ["home/bob/", "etc/"],
      ["home/", "home/ann/", "home/ann/d/x"],
    ],
    [
      ["- #a#", "- !b"],
      ["#a#", "!b"],
      ["a", "b"],
    ],
    [["-  two blanks"], ["two blanks"], ["blanks"]],
  ];
  for (const [rules, excluded, kept] of cases) {
    it(`has rsync's where one does: ${rules.join(" | ")}`, () => {
      const isExcluded = compileExcludes({ patterns: patternsOfLines(rules), patternsIgnoringCase: [] })!;
      for (const path of excluded) assert.equal(isExcluded(path), true, path);
      for (const path of kept) assert.equal(isExcluded(path), false, path);
    });
  }

  it("cannot have both", () => {
    assert.throws(() => patternsOfLines(["- *.o", "!keep.o"]), /"!keep\.o" stands among rules of rsync's/);
  });
});
