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

const CACHES = { NODE_COMPILE_CACHE: undefined, XDG_CACHE_HOME: undefined, HOLDFAST_CACHE_DIR: undefined };

test("keeps compiled code beside the libraries, where those are the user's own", async (t) => {
  const home = temporaryFolder(t);
  await runOk(HOLDFAST, ["--version"], { env: { ...CACHES, HOME: home } });
  assert.ok(existsSync(path.join(checkoutFolder, "node_modules/.cache/compiled")));
  assert.ok(!existsSync(path.join(home, ".cache")));
});

test(
  "keeps compiled code in the user's cache where the libraries are somebody else's, but not in a foreign home",
  { skip: !isRoot && "only root can give files away" },
  async (t) => {
    const checkout = temporaryFolder(t);
    cpSync(path.join(checkoutFolder, "bin"), path.join(checkout, "bin"), { recursive: true });
    symlinkSync(path.join(checkoutFolder, "src"), path.join(checkout, "src"));
    mkdirSync(path.join(checkout, "node_modules"));
    for (const library of ["node", "commander"]) {
      symlinkSync(path.join(checkoutFolder, "node_modules", library), path.join(checkout, "node_modules", library));
    }
    await runOk("chown", ["65534:65534", path.join(checkout, "node_modules")]);
    const launch = (home: string) =>
      runOk(path.join(checkout, "bin/holdfast"), ["--version"], { env: { ...CACHES, HOME: home } });

    const home = temporaryFolder(t);
    await launch(home);
    assert.ok(existsSync(path.join(home, ".cache/holdfast/compiled")));
    const foreign = temporaryFolder(t);
    await runOk("chown", ["65534:65534", foreign]);
    await launch(foreign);
    assert.ok(!existsSync(path.join(foreign, ".cache")));
    mkdirSync(path.join(foreign, ".cache/holdfast"), { recursive: true });
    await launch(foreign);
    assert.ok(!existsSync(path.join(foreign, ".cache/holdfast/compiled")));
  },
);

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

test("starts with well under half a second of processor time", async () => {
  await runOk(HOLDFAST, ["--version"]);
  const times: number[] = [];
  for (let number = 0; number < 5; number++) {
    const script = 'TIMEFORMAT="%U %S"; { time "$1" --version >/dev/null; } 2>&1';
    const [user, system] = (await runOk("bash", ["-c", script, "bash", HOLDFAST])).split(" ").map(Number);
    times.push((user + system) * 1000);
  }
  assert.ok(Math.min(...times) < 400, `${times.map(Math.round).join(", ")} ms`);
});
