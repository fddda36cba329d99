import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { compileFilterRules, matchesGlob } from "./filter-rules.ts";
import { RsyncRefusedError } from "./rsync-error.ts";
import { processorMs } from "../../../platform/testing/processor-time.ts";

describe("filter rules", () => {
  const cases: [rules: string[], excluded: string[], kept: string[]][] = [
    [["- *.o"], ["a.o", "dir/b.o"], ["a.oo", "a.o.c"]],
    [["- /foo"], ["foo"], ["bar/foo", "foo/bar"]],
    [["- foo/bar"], ["foo/bar", "x/foo/bar"], ["bar", "xfoo/bar", "foo/x/bar"]],
    [["- foo/*/bar"], ["foo/x/bar", "a/foo/x/bar", "foo/foo/x/bar"], ["foo/x/y/bar", "foo/x/bar/y"]],
    [["- foo/b*r"], ["foo/bar", "a/b/foo/br"], ["foo/x/bar", "foo", "xfoo/bar"]],
    [["- ba[r]"], ["bar", "x/bar"], ["bar/x", "rebar"]],
    [["-! foo/bar"], ["bar", "foo"], ["foo/bar", "x/foo/bar"]],
    [["- foo/**/bar"], ["foo/x/y/bar", "foo/x/bar"], ["foo/bar"]],
    [["- **/bar"], ["bar", "foo/bar"], ["foobar"]],
    [["- /foo/*"], ["foo/a"], ["foo", "foo/a/b"]],
    [["- /foo/***"], ["foo/", "foo/a", "foo/a/b"], ["foo"]],
    [["- cache/"], ["cache/", "a/cache/"], ["cache"]],
    [["+ *.c", "- *"], ["a.h"], ["a.c"]],
    [["-! *.c"], ["a.h"], ["a.c"]],
    [["- [a-c]?"], ["ax", "cz"], ["dx", "a/"]],
    [["- [!a-c]x"], ["dx"], ["ax"]],
    [["- a\\**"], ["a*b"], ["axb"]],
    [["- *", "!", "- x"], ["x"], ["y"]],
    [["-s x", "-r y"], ["x"], ["y"]],
    [["H x", "P y"], ["x"], ["y"]],
    [["exclude x", "include,s y", "- *"], ["x", "z"], ["y"]],
  ];
  for (const [rules, excluded, kept] of cases) {
    it(`applies ${rules.join(" | ")} as rsync does`, () => {
      const compiled = compileFilterRules(rules);
      const excludes = (path: string): boolean => compiled.excludes(path.replace(/\/$/, ""), path.endsWith("/"));
      for (const path of excluded) assert.equal(excludes(path), true, path);
      for (const path of kept) assert.equal(excludes(path), false, path);
    });
  }

  it("refuses rules that would read files of their own, and unknown ones", () => {
    for (const rule of [": .rsync-filter", ". rules", "-C", "? x", "- "]) {
      assert.throws(() => compileFilterRules([rule]), RsyncRefusedError, rule);
    }
  });

  it("takes no longer for a pattern made to be slow", () => {
    const { excludes } = compileFilterRules([`- ${"*a".repeat(60)}b`]);
    const started = processorMs();
    assert.equal(excludes("a".repeat(4000), false), false);
    assert.ok(processorMs() - started < 1000);
  });

  it("applies thousands of rules in little time", () => {
    const rules = ["- name-#", "- /usr/share/name-#", "- doc/name-#", "- *.x#", "- doc/*.x#"].flatMap((rule) =>
      Array.from({ length: 4000 }, (_, i) => rule.replace("#", String(i))),
    );
    const { excludes } = compileFilterRules(rules);
    const started = processorMs();
    for (let i = 0; i < 500; i++) assert.equal(excludes(`usr/share/doc/package/some/folder/name-x${i}`, false), false);
    assert.equal(excludes("usr/share/doc/name-3999", false), true);
    assert.equal(excludes("a/doc/b.x3999", false), true);
    const tookMs = processorMs() - started;
    assert.ok(tookMs < 3000, `${tookMs} ms`);
  });

  it("gives up where rules were made to take long", () => {
    const { excludes } = compileFilterRules(Array.from({ length: 250 }, () => `- ${"**/a".repeat(1000)}[b]`));
    assert.throws(() => {
      for (let i = 0; i < 100_000; i++) excludes("a/".repeat(2000), false);
    }, /take too long/);
  });

  it("matches names against shell patterns", () => {
    assert.equal(matchesGlob("2026-*", "2026-11-20T03:00"), true);
    assert.equal(matchesGlob("a*", "a/b"), false);
  });
});
