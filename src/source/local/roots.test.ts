import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { UsageError } from "../../errors.ts";
import { atEnd } from "../../../test/support/at-end.ts";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { AT_FDCWD, closeFd, OPEN, openAt } from "../../platform/open.ts";
import { type RawPath, rawPathFromText } from "../../platform/raw-path.ts";
import { normaliseRoot, physicalPathOf, type WantedName, wantedTree } from "./roots.ts";

const raw = rawPathFromText;

describe("normaliseRoot", () => {
  const here = process.cwd().slice(1);
  const cases: readonly [written: string, path: string, follow: boolean][] = [
    ["/", "", true],
    ["/a", "a", false],
    ["/a/", "a", true],
    ["//a///b", "a/b", false],
    ["/a/./b/../c", "a/c", false],
    ["/a/b/..", "a", true],
    ["/../..", "", true],
    [".", here, true],
    ["x", `${here}/x`, false],
    ["./x/.", `${here}/x`, true],
    ["/a/...", "a/...", false],
  ];
  for (const [written, expected, follow] of cases) {
    it(`takes ${written} for /${expected}${follow ? ", followed if it is a link" : ""}`, () => {
      assert.deepEqual(normaliseRoot(raw(written)), { path: expected, follow });
    });
  }

  it("takes any bytes", () => {
    assert.deepEqual(normaliseRoot("/caf\xe9/new\nline" as RawPath), { path: "caf\xe9/new\nline", follow: false });
  });

  it("refuses an empty name, which is a mistake in a script", () => {
    assert.throws(() => normaliseRoot("" as RawPath), UsageError);
  });
});

describe("wantedTree", () => {
  const plain = (tree: WantedName): unknown =>
    Object.fromEntries(
      [...tree.children].map(([name, child]) => [
        `${name}${child.whole ? " (whole)" : ""}${child.leadsTo === undefined ? "" : ` -> ${child.leadsTo}`}`,
        plain(child),
      ]),
    );

  function treeOf(roots: readonly string[]): WantedName {
    const topFd = openAt(AT_FDCWD, raw("/"), OPEN.PATH);
    try {
      return wantedTree(
        topFd,
        roots.map((root) => normaliseRoot(raw(root))),
      );
    } finally {
      closeFd(topFd);
    }
  }

  it("has one branch for roots that share folders, in order of names by bytes", () => {
    const tree = treeOf(["/no/b", "/no/a/x", "/no/a.x", "/no/a", "/no/b"]);
    assert.deepEqual(plain(tree), { no: { "a (whole)": { "x (whole)": {} }, "a.x (whole)": {}, "b (whole)": {} } });
    assert.deepEqual([...(tree.children.get(raw("no"))?.children.keys() ?? [])], ["a", "a.x", "b"]);
  });

  it("follows links above a root, and the root itself only with a slash at its end", (t) => {
    const folder = temporaryFolder(t);
    const below = folder.slice(1).split("/");
    mkdirSync(path.join(folder, "real/inner"), { recursive: true });
    symlinkSync("real", path.join(folder, "link"));
    symlinkSync("inner", path.join(folder, "real/second"));
    const inFolder = (roots: readonly string[]): unknown => {
      let tree = treeOf(roots.map((root) => path.join(folder, root)));
      for (const part of below) tree = tree.children.get(raw(part)) ?? assert.fail();
      return plain(tree);
    };
    const real = path.join(folder, "real").slice(1);
    assert.deepEqual(inFolder(["link"]), { "link (whole)": {} });
    assert.deepEqual(inFolder(["link/"]), { [`link (whole) -> ${real}`]: {} });
    assert.deepEqual(inFolder(["link/inner"]), { [`link -> ${real}`]: { "inner (whole)": {} } });
    assert.deepEqual(inFolder(["link/second"]), { [`link -> ${real}`]: { "second (whole)": {} } });
    assert.deepEqual(inFolder(["link/second/"]), {
      [`link -> ${real}`]: { [`second (whole) -> ${real}/inner`]: {} },
    });
  });
});

describe("physicalPathOf", () => {
  it("resolves links, also for folders that do not exist yet", (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(path.join(folder, "real"));
    symlinkSync("real", path.join(folder, "link"));
    const real = path.join(folder, "real").slice(1);
    assert.equal(physicalPathOf(raw(path.join(folder, "link"))), real);
    assert.equal(physicalPathOf(raw(path.join(folder, "link/not/yet"))), `${real}/not/yet`);
    const before = process.cwd();
    process.chdir(folder);
    atEnd(t, () => process.chdir(before));
    writeFileSync("file", "");
    assert.equal(physicalPathOf(raw("link/x")), `${real}/x`);
  });
});
