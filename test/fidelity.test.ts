import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { BEYOND_RSYNC, buildAwkwardTree } from "./support/awkward-tree.ts";
import { assertSameTree } from "./support/compare-trees.ts";
import { mountFileSystem } from "./support/file-system-image.ts";
import { asNormalUser, newHoldfast } from "./support/holdfast.ts";
import { isRoot, skipUnless } from "./support/requirements.ts";
import { runOk } from "./support/run-command.ts";
import { temporaryFolder } from "./support/temporary-folder.ts";

const TOOLS = ["rsync", "tar", "find", "getfattr", "setfattr", "setfacl", "lsattr", "chattr"];

for (const type of ["ext4", "xfs", "btrfs"] as const) {
  test(
    `an awkward tree on ${type} comes back as it was, and again on top of itself`,
    { skip: skipUnless({ root: true, commands: [...TOOLS, "setcap", "mknod", "mount", `mkfs.${type}`] }) },
    async (t) => {
      const holdfast = await newHoldfast(t);
      const place = await mountFileSystem(t, { type, sizeMebibytes: 500 });
      const original = path.join(place, "original");
      const target = path.join(place, "restored");
      mkdirSync(original);
      await buildAwkwardTree(original, { asRoot: true });

      await holdfast.ok(["backup", original]);
      await holdfast.ok(["restore", `latest:${original}`, "--target", target]);
      await assertSameTree(original, target, { beyondRsync: BEYOND_RSYNC });

      // Nothing has changed, so nothing is stored, and a second restore finds all in place.
      const summary = await holdfast.ok(["backup", "--json", original]);
      assert.match(summary, /"data_blobs":0/);
      await holdfast.ok(["restore", `latest:${original}`, "--target", target, "--verify"]);
      await assertSameTree(original, target, { beyondRsync: BEYOND_RSYNC });
    },
  );
}

test(
  "a normal user gets back all that a normal user can save",
  { skip: skipUnless({ commands: [...TOOLS, ...(isRoot ? ["mount", "chown"] : [])] }) },
  async (t) => {
    const folder = temporaryFolder(t);
    const holdfast = await newHoldfast(t, { place: folder, asNormalUser: true });
    const original = path.join(folder, "original");
    const target = path.join(folder, "restored");
    mkdirSync(original);
    await buildAwkwardTree(original, { asRoot: false });
    const user = asNormalUser();
    if (user.uid !== undefined) await giveTo(user.uid, original);

    await holdfast.ok(["backup", original]);
    await holdfast.ok(["restore", `latest:${original}`, "--target", target]);
    await assertSameTree(original, target, { beyondRsync: BEYOND_RSYNC });
  },
);

/** The whole tree, with the set-user-id bits that a change of owner takes away, and all times as they were. */
async function giveTo(uid: number, folder: string): Promise<void> {
  const script = `
    find . -depth -execdir perl -e '
      for (@ARGV) {
        my ($mode) = (lstat)[2];
        system("chown", "-h", "${uid}:${uid}", "--", $_) == 0 or die;
        chmod($mode & 07777, $_) unless -l $_;
      }' -- {} +`;
  await runOk("bash", ["-c", script], { cwd: folder });
}
