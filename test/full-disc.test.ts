import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { scrambledBytes } from "./support/awkward-tree.ts";
import { assertSameTree } from "./support/compare-trees.ts";
import { mountFileSystem } from "./support/file-system-image.ts";
import { newHoldfast } from "./support/holdfast.ts";
import { skipUnless } from "./support/requirements.ts";
import { run } from "./support/run-command.ts";
import { temporaryFolder } from "./support/temporary-folder.ts";

const MEBIBYTE = 1024 * 1024;

test(
  "a disc that fills up refuses the backup, keeps what it has, and has room again after forget and prune",
  { skip: skipUnless({ root: true, commands: ["mkfs.ext4", "mount", "rsync", "getfattr"] }) },
  async (t) => {
    const folder = temporaryFolder(t);
    const disc = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 128 });
    const holdfast = await newHoldfast(t, { place: disc });
    const [old, small, tooLarge] = ["old", "small", "too-large"].map((name) => path.join(folder, name));
    makeFiles(old, 20);
    makeFiles(small, 20);
    makeFiles(tooLarge, 120);

    await holdfast.ok(["backup", small]);
    await holdfast.ok(["backup", old]);

    const refused = await holdfast.run(["backup", tooLarge]);
    assert.equal(refused.status, 1, refused.stderr);
    assert.match(refused.stderr, /full|no space/i);
    assert.doesNotMatch(refused.stderr, /bug in Holdfast|\bat .*\.ts:/);
    assert.equal((await snapshots()).length, 2);

    // Not one block left, which is when pruning is needed most.
    await run("dd", ["if=/dev/zero", `of=${path.join(disc, "filler")}`, "bs=1M"]);
    await run("dd", ["if=/dev/zero", `of=${path.join(disc, "filler-2")}`, "bs=4k"]);
    await holdfast.ok(["check", "--read-data"]);
    await holdfast.ok(["forget", "--path", old, "--unsafe-allow-remove-all"]);
    await holdfast.ok(["prune"]);
    await holdfast.ok(["prune"]);
    rmSync(path.join(disc, "filler"));
    rmSync(path.join(disc, "filler-2"));

    makeFiles(path.join(small, "more"), 40);
    await holdfast.ok(["backup", small]);
    await holdfast.ok(["check", "--read-data"]);
    const target = path.join(folder, "restored");
    await holdfast.ok(["restore", `latest:${small}`, "--target", target]);
    await assertSameTree(small, target);

    async function snapshots(): Promise<unknown[]> {
      return JSON.parse(await holdfast.ok(["snapshots", "--json"])) as unknown[];
    }
  },
);

test(
  "a restore onto a disc that fills up says so, and can be finished when there is room",
  { skip: skipUnless({ root: true, commands: ["mkfs.ext4", "mount", "rsync", "getfattr"] }) },
  async (t) => {
    const folder = temporaryFolder(t);
    const disc = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 64 });
    const holdfast = await newHoldfast(t);
    const source = path.join(folder, "source");
    makeFiles(source, 40);
    await holdfast.ok(["backup", source]);
    writeFileSync(path.join(disc, "filler"), Buffer.alloc(30 * MEBIBYTE));

    const target = path.join(disc, "restored");
    const refused = await holdfast.run(["restore", "latest", "--target", target]);
    assert.equal(refused.status, 1, refused.stderr);
    assert.match(refused.stderr, /full|no space/i);

    rmSync(path.join(disc, "filler"));
    await holdfast.ok(["restore", "latest", "--target", target]);
    await assertSameTree(source, path.join(target, source));
  },
);

function makeFiles(folder: string, megabytes: number): void {
  mkdirSync(folder, { recursive: true });
  for (let number = 0; number < megabytes; number++) {
    writeFileSync(path.join(folder, `file-${number}`), scrambledBytes(`${folder} ${number}`, MEBIBYTE));
  }
}
