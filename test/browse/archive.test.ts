import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { test } from "node:test";
import { tarArchive } from "../../src/browse/archive/tar.ts";
import { openSnapshotView } from "../../src/browse/open-snapshot-view.ts";
import { rawPathFromText } from "../../src/platform/raw-path.ts";
import { openFrameReader } from "../../src/repository/frame-reader.ts";
import { findSnapshot } from "../../src/repository/snapshots.ts";
import { memoryStorage } from "../../src/storage/memory.ts";
import { BEYOND_RSYNC, buildAwkwardTree } from "../support/awkward-tree.ts";
import { assertSameTree } from "../support/compare-trees.ts";
import { newRepository, saveFolder } from "../support/library-repository.ts";
import { skipUnless } from "../support/requirements.ts";
import { runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const UNPACKERS = {
  tar: ["-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "--warning=no-timestamp"],
  bsdtar: ["-x", "-p", "-f", "-", "--numeric-owner", "--xattrs", "--acls"],
};

for (const [program, args] of Object.entries(UNPACKERS)) {
  test(
    `${program} unpacks an awkward tree as it was`,
    {
      skip: skipUnless({
        root: true,
        commands: [program, "rsync", "getfattr", "setcap", "setfacl", "mknod", "chattr"],
      }),
    },
    async (t) => {
      const folder = temporaryFolder(t);
      const [source, target] = [path.join(folder, "source"), path.join(folder, "target")];
      mkdirSync(source);
      mkdirSync(target);
      await buildAwkwardTree(source, { asRoot: true });
      // tar has no room for sockets, and these programs none for inode flags and for paths that the kernel does not take.
      await runOk("chattr", ["-R", "-i", "-a", path.join(source, "flags")]);
      await runOk("rm", ["-r", ...["flags", "deep", "special/socket"].map((name) => path.join(source, name))]);
      // bsdtar 3.6 adds the fraction of a time before 1970 where it has to be taken away.
      if (program === "bsdtar") await runOk("sh", ["-c", "rm -r times/*before-1970"], { cwd: source });
      await runOk("touch", ["-d", "@1234567890.5", source, path.join(source, "special")]);

      const repository = await newRepository(memoryStorage());
      await saveFolder(repository, source);
      const { sealed } = await findSnapshot(repository, "latest");
      const view = openSnapshotView(await openFrameReader(repository), sealed.root);
      const entry = await view.lookup(rawPathFromText(source));
      assert.ok(entry);
      const unpacker = spawn(program, args, {
        cwd: target,
        stdio: ["pipe", "ignore", "pipe"],
        env: { ...process.env, LC_ALL: "C.UTF-8" },
      });
      const said: Buffer[] = [];
      unpacker.stderr.on("data", (chunk: Buffer) => said.push(chunk));
      const ended = once(unpacker, "exit");
      const archive = tarArchive(view, {
        from: { path: rawPathFromText("copy"), entry },
        onSkipped: (where) => assert.fail(where),
      });
      await pipeline(Readable.from(archive), unpacker.stdin);
      const [code] = (await ended) as [number];
      assert.equal(code, 0, Buffer.concat(said).toString());
      await assertSameTree(source, path.join(target, "copy"), { beyondRsync: BEYOND_RSYNC });
    },
  );
}
