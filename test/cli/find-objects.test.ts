import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { workplace } from "./workplace.ts";

test("find --tree, --blob and --pack name what stored pieces are part of, in all snapshots", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  await at.ok(["backup", at.source, "--tag", "first"]);
  writeFileSync(path.join(at.source, "new"), "new\n");
  await at.ok(["backup", at.source]);
  const snapshots = (await at.json(["snapshots"]))[0];
  // oxlint-disable-next-line typescript/no-explicit-any
  const find = async (...args: string[]): Promise<any[]> => (await at.json(["find", ...args]))[0];
  // oxlint-disable-next-line typescript/no-explicit-any
  const pathsOf = (found: any[]) => [...new Set(found.map((one) => one.path))];
  const inSource = (name: string) => path.join(at.source, name);

  const [top] = await find("--tree", snapshots[0].tree);
  assert.deepEqual(
    [top.object_type, top.id, top.path, top.snapshot],
    ["tree", snapshots[0].tree, "/", snapshots[0].id],
  );
  assert.equal(top.parent_tree, undefined);

  const packs = (await at.json(["find", "--tree", snapshots[0].tree, snapshots[1].tree, "--show-pack-id"]))[0];
  assert.equal(packs.length, 2);
  const inPacks = await find("--pack", ...packs.map((one: { pack: string }) => one.pack.slice(0, 16)));
  assert.ok(pathsOf(inPacks).includes("/"));

  const blobs = inPacks.filter((one) => one.object_type === "blob");
  const b = blobs.find((one) => one.path === inSource("sub/b.txt"));
  assert.ok(b !== undefined, "the data of the first backup is in one pack with its trees, or in another");
  const files = await find("--blob", b.id.slice(0, 20));
  assert.deepEqual(pathsOf(files), [inSource("sub/b.txt")]);
  assert.deepEqual(
    files.map((one) => one.snapshot),
    [snapshots[1].id, snapshots[0].id],
  );
  assert.deepEqual(
    (await find("--blob", b.id, "--tag", "first")).map((one) => one.snapshot),
    [snapshots[0].id],
  );
  const text = await at.ok(["find", "--blob", b.id, "-s", "latest"]);
  assert.match(
    text,
    new RegExp(`^Found blob ${b.id}\n \\.\\.\\. in file ${b.path}\n     \\(tree ${b.parent_tree}\\)\n`),
  );
  assert.match(text, new RegExp(` in snapshot ${snapshots[1].id.slice(0, 8)} `));

  for (const args of [
    ["--blob", "xyz"],
    ["--blob", "--tree", "abcd"],
  ]) {
    assert.equal((await at.run(["find", ...args])).status, 1);
  }
});
