import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { assertSameTree } from "../support/compare-trees.ts";
import { checkoutFolder, newHoldfast } from "../support/holdfast.ts";
import { runOk } from "../support/run-command.ts";
import { skipUnless } from "../support/requirements.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const TOOLS = ["rsync", "tar", "find", "getfattr", "lsattr"];
const MEBIBYTE = 1024 * 1024;
const KILLS = 4;

for (const overwrite of ["always", "if-changed", "never"]) {
  test(
    `a restore (${overwrite}) that is killed again and again is whole when one of them ends`,
    { skip: skipUnless({ commands: TOOLS }) },
    async (t) => {
      const folder = temporaryFolder(t);
      const holdfast = await newHoldfast(t, { place: folder });
      const source = path.join(folder, "source");
      const target = path.join(folder, "target");
      for (let inner = 0; inner < 20; inner++) {
        mkdirSync(path.join(source, `d${inner}`), { recursive: true });
        for (let file = 0; file < 100; file++) {
          writeFileSync(
            path.join(source, `d${inner}/f${file}`),
            scrambledBytes(`${inner} ${file}`, (file * 997) % 30_000),
          );
        }
        symlinkSync("f1", path.join(source, `d${inner}/link`));
      }
      writeFileSync(path.join(source, "large"), scrambledBytes("large", 30 * MEBIBYTE));
      await holdfast.ok(["backup", source]);

      const args = ["restore", `latest:${source}`, "--target", target, "--overwrite", overwrite];
      for (let kill = 0; kill < KILLS; kill++) {
        const env = { ...process.env, ...holdfast.env };
        const child = spawn(path.join(checkoutFolder, "bin/holdfast"), args, { env, stdio: "ignore" });
        const ended = once(child, "exit");
        await Promise.race([sleep(250 + ((kill * 419) % 700)), ended]);
        child.kill("SIGKILL");
        await ended;
      }
      const summary = await holdfast.ok([...args, "--json"]);
      assert.match(summary, /"error_count":0/);
      await assertSameTree(source, target);

      const again = JSON.parse((await holdfast.ok([...args, "--json"])).trim().split("\n").at(-1) as string) as Record<
        string,
        number
      >;
      assert.equal(again.bytes_restored, 0);
    },
  );
}

for (const [killedAfter, leaveTarget] of [
  ["making the target", async () => undefined],
  [
    "giving the target its ACL",
    async (source: string, target: string) =>
      runOk("sh", ["-c", 'getfacl "$1" | setfacl --set-file=- "$2" && chmod +t "$2"', "sh", source, target]),
  ],
] as const) {
  test(
    `a restore that was killed right after ${killedAfter} is gone on with`,
    { skip: skipUnless({ commands: [...TOOLS, "setfacl", "getfacl"] }) },
    async (t) => {
      const folder = temporaryFolder(t);
      const holdfast = await newHoldfast(t, { place: folder });
      const [source, target] = [path.join(folder, "source"), path.join(folder, "target")];
      mkdirSync(source);
      writeFileSync(path.join(source, "file"), "content");
      await runOk("setfacl", ["-m", "u:daemon:rx", source]);
      chmodSync(source, 0o2755);
      await holdfast.ok(["backup", source]);
      mkdirSync(target);
      chmodSync(target, 0o1700);
      await leaveTarget(source, target);

      await holdfast.ok(["restore", `latest:${source}`, "--target", target, "--overwrite", "never"]);
      await assertSameTree(source, target);
    },
  );
}
