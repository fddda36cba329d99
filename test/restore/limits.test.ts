import assert from "node:assert/strict";
import { closeSync, constants, linkSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { buildAwkwardTree } from "../support/awkward-tree.ts";
import { checkoutFolder, newHoldfast } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { run, runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

test(
  "a tree deeper than there may be open files is restored",
  { skip: skipUnless({ commands: ["sh", "diff"] }) },
  async (t) => {
    const folder = temporaryFolder(t);
    const holdfast = await newHoldfast(t, { place: folder });
    const source = path.join(folder, "source");
    mkdirSync(source);
    let fd = openSync(source, constants.O_RDONLY | constants.O_DIRECTORY);
    for (let level = 0; level < 600; level++) {
      writeFileSync(`/proc/self/fd/${fd}/file`, `level ${level}`);
      if (level > 0) linkSync(`/proc/self/fd/${fd}/file`, `/proc/self/fd/${fd}/linked`);
      mkdirSync(`/proc/self/fd/${fd}/folder-${level}`);
      const next = openSync(`/proc/self/fd/${fd}/folder-${level}`, constants.O_RDONLY | constants.O_DIRECTORY);
      closeSync(fd);
      fd = next;
    }
    closeSync(fd);
    await holdfast.ok(["backup", source]);
    const target = path.join(folder, "target");
    const command = `ulimit -n 512; exec "$0" restore "latest:${source}" --target "${target}" --verify`;
    await runOk("sh", ["-c", command, path.join(checkoutFolder, "bin/holdfast")], { env: holdfast.env });
    // Told by what each name is and how many links it has, because the paths are longer than most programs can take.
    const list = "find . -mindepth 1 -printf '%y %n %s %T@ %f\\n' | sort";
    const [expected, actual] = await Promise.all([source, target].map((cwd) => runOk("sh", ["-c", list], { cwd })));
    assert.equal(actual, expected);
  },
);

test(
  "a normal user gets what root saved as far as it goes, and is told once of each kind that cannot be had",
  { skip: skipUnless({ root: true, commands: ["mount", "setfacl", "setfattr", "setcap", "chattr", "mknod"] }) },
  async (t) => {
    const folder = temporaryFolder(t);
    const source = path.join(folder, "source");
    mkdirSync(source);
    await buildAwkwardTree(source, { asRoot: true });
    const byRoot = await newHoldfast(t, { place: folder });
    await byRoot.ok(["backup", source]);
    await runOk("chmod", ["-R", "a+rX", byRoot.repository]);
    await runOk("chmod", ["a+x", folder]);

    const home = temporaryFolder(t);
    const byUser = await newHoldfast(t, { place: home, asNormalUser: true });
    const target = path.join(home, "target");
    const result = await byUser.run(["restore", `latest:${source}`, "--target", target], {
      env: { HOLDFAST_REPOSITORY: byRoot.repository },
    });
    assert.equal(result.status, 0, result.stderr);
    for (const kind of ["owner", "device", "extended attribute", "inode flag"]) {
      assert.equal(result.stderr.match(new RegExp(`\\d+ × ${kind}`, "g"))?.length, 1, `${kind}: ${result.stderr}`);
    }
    assert.equal(
      readFileSync(path.join(target, "content/text"), "utf8"),
      readFileSync(path.join(source, "content/text"), "utf8"),
    );
    // Programs that ran with the rights of their owner do not run with those of another now.
    const { stdout } = await run("find", [target, "-perm", "/4000", "-type", "f"]);
    assert.equal(stdout, "");
    const again = await byUser.run(["restore", `latest:${source}`, "--target", target], {
      env: { HOLDFAST_REPOSITORY: byRoot.repository },
    });
    assert.equal(again.status, 0, again.stderr);
  },
);
