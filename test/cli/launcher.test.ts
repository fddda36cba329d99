/** `bin/holdfast` itself: a shell script that finds Node. */
import assert from "node:assert/strict";
import { chmodSync, cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { checkoutFolder } from "../support/holdfast.ts";
import { isRoot } from "../support/requirements.ts";
import { run, runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const HOLDFAST = path.join(checkoutFolder, "bin/holdfast");

test("runs from any folder, through symbolic links, absolute and relative", async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(path.join(folder, "bin"));
  symlinkSync(HOLDFAST, path.join(folder, "bin/absolute"));
  symlinkSync("bin/absolute", path.join(folder, "relative"));
  for (const command of ["./bin/absolute", "./relative", path.join(folder, "relative"), HOLDFAST]) {
    assert.match(await runOk(command, ["--version"], { cwd: folder }), /^holdfast \d/);
  }
  const env = { PATH: `${folder}/bin:/usr/bin:/bin` };
  assert.match(await runOk("sh", ["-c", "absolute --version"], { cwd: "/", env }), /^holdfast \d/);
});

test("keeps compiled code in the user's cache, but not in one that belongs to somebody else", async (t) => {
  const home = temporaryFolder(t);
  const env = { HOME: home, NODE_COMPILE_CACHE: undefined, XDG_CACHE_HOME: undefined, HOLDFAST_CACHE_DIR: undefined };
  await runOk(HOLDFAST, ["--version"], { env });
  assert.ok(existsSync(path.join(home, ".cache/holdfast/compiled")));
  if (!isRoot) return;
  const foreign = temporaryFolder(t);
  await runOk("chown", ["65534:65534", foreign]);
  await runOk(HOLDFAST, ["--version"], { env: { ...env, HOME: foreign } });
  assert.ok(!existsSync(path.join(foreign, ".cache")));
  mkdirSync(path.join(foreign, ".cache/holdfast"), { recursive: true });
  await runOk(HOLDFAST, ["--version"], { env: { ...env, HOME: foreign } });
  assert.ok(!existsSync(path.join(foreign, ".cache/holdfast/compiled")));
});

test("without libraries, or without a Node that is new enough, says what to do", async (t) => {
  const checkout = temporaryFolder(t);
  cpSync(path.join(checkoutFolder, "bin"), path.join(checkout, "bin"), { recursive: true });
  const tools = path.join(checkout, "tools");
  mkdirSync(tools);
  const env = { PATH: tools, HOME: checkout };
  const launch = () => run("/bin/sh", [path.join(checkout, "bin/holdfast"), "--version"], { env });

  const none = await launch();
  assert.deepEqual([none.status, none.stdout], [1, ""]);
  assert.match(none.stderr, /^holdfast needs Node 24 or newer\. Run "npm ci" in /);

  const node = path.join(tools, "node");
  for (const [version, said] of [
    ["v20.1.0", /needs Node 24 or newer \(found 20\.1\.0\)/],
    ["v24.0.0", /libraries are missing\. Run "npm ci" in /],
  ] as const) {
    writeFileSync(node, `#!/bin/sh\necho ${version}\n`);
    chmodSync(node, 0o755);
    const { status, stderr } = await launch();
    assert.equal(status, 1);
    assert.match(stderr, said);
  }
});

test("starts in well under half a second", async () => {
  await runOk(HOLDFAST, ["--version"]);
  const times: number[] = [];
  for (let number = 0; number < 5; number++) {
    const begin = performance.now();
    await runOk(HOLDFAST, ["--version"]);
    times.push(performance.now() - begin);
  }
  assert.ok(Math.min(...times) < 500, `${times.map(Math.round).join(", ")} ms`);
});
