import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { type DirectoryEntry, decodeEntry, encodeEntry, iterateTree, type TreeEntry } from "../format/tree.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { createTreeAssembler } from "./tree-assembler.ts";

const ATTRIBUTES = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  user: "",
  group: "",
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  inodeFlags: 0,
  xattrs: [],
  hardLink: undefined,
};

const directory = (name: string): Buffer =>
  encodeEntry({ ...ATTRIBUTES, name: name as RawPath, type: "directory", tree: Buffer.alloc(32) });
const link = (name: string, target: string): Buffer =>
  encodeEntry({ ...ATTRIBUTES, name: name as RawPath, type: "symlink", target: target as RawPath });

/** What was stored, as paths with their link targets, gone through from the top. */
function pathsIn(blobs: ReadonlyMap<string, Buffer>, top: TreeEntry): Map<string, string> {
  const paths = new Map<string, string>();
  const leavesOf = (id: Uint8Array): readonly TreeEntry[] => {
    const tree = iterateTree(blobs.get(Buffer.from(id).toString("hex")) ?? Buffer.alloc(0));
    if (tree.kind === "leaf") return [...tree.entries];
    return tree.parts.flatMap((part) => {
      const entries = leavesOf(part.id);
      assert.equal(entries.length, part.count);
      assert.equal(entries[0].name, part.firstName);
      return entries;
    });
  };
  const enter = (path: string, { tree }: DirectoryEntry): void => {
    for (const entry of leavesOf(tree)) {
      const inner = `${path}/${entry.name}`;
      paths.set(inner, entry.type === "symlink" ? entry.target : "");
      if (entry.type === "directory") enter(inner, entry);
    }
  };
  if (top.type === "directory") enter("", top);
  return paths;
}

test("trees hold what was given, in folders of all sizes beside and in one another", () => {
  const blobs = new Map<string, Buffer>();
  const trees = createTreeAssembler((tree) => {
    const id = createHash("sha256").update(tree).digest();
    blobs.set(id.toString("hex"), Buffer.from(tree));
    return id;
  });
  const expected = new Map<string, string>();
  const add = (path: string, target: string | undefined): void => {
    const depth = path.split("/").length - 1;
    const name = path.slice(path.lastIndexOf("/") + 1);
    expected.set(path, target ?? "");
    if (target === undefined) trees.openDirectory(depth, directory(name));
    else trees.add(depth, link(name, target));
  };
  trees.openDirectory(0, directory(""));
  for (let outer = 0; outer < 5; outer++) {
    add(`/folder-${outer}`, undefined);
    add(`/folder-${outer}/a`, "before what is in it");
    add(`/folder-${outer}/b`, undefined);
    // Of one leaf, of several by their number, and of several by their size.
    const [count, targetBytes] = [
      [0, 0],
      [3, 10],
      [9000, 1],
      [700, 3000],
      [100, 100],
    ][outer];
    for (let inner = 0; inner < count; inner++) {
      add(`/folder-${outer}/b/${String(inner).padStart(5, "0")}`, "x".repeat(targetBytes));
    }
    add(`/folder-${outer}/c`, "after it");
  }
  assert.deepEqual(pathsIn(blobs, decodeEntry(trees.finish())), expected);
});
