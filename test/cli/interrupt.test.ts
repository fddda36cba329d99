import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { checkoutFolder } from "../support/holdfast.ts";
import { run } from "../support/run-command.ts";
import { workplace, type Workplace } from "./workplace.ts";

const HOLDFAST = path.join(checkoutFolder, "bin/holdfast");

/** A backup of a command's output that never ends, under way. */
async function endlessBackup(at: Workplace): Promise<{ child: ChildProcess; said: () => string }> {
  const endless = ["backup", "--stdin-from-command", "--", "sh", "-c", "echo begun >&2; exec cat /dev/zero"];
  const child = spawn(HOLDFAST, endless, { env: { ...process.env, ...at.env }, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
  child.stdout.resume();
  while (!text.includes("begun")) await once(child.stderr, "data");
  return { child, said: () => text };
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`${signal} stops a backup cleanly with 130, and leaves no snapshot and no note`, async (t) => {
    const at = workplace(t);
    await at.makeRepository();
    const { child, said } = await endlessBackup(at);
    child.kill(signal);
    const [code] = await once(child, "close");
    assert.equal(code, 130, said());
    assert.match(said(), /stopping.*\n[^]*interrupted/);
    assert.deepEqual((await at.json(["snapshots"]))[0], []);
    assert.deepEqual(readdirSync(path.join(at.repository, "running")), []);
    await at.ok(["backup", at.source]);
    assert.match(await at.ok(["check", "--read-data"]), /no errors/);
  });
}

test("a second Ctrl-C ends it at once", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const { child } = await endlessBackup(at);
  const closed = once(child, "close");
  child.kill("SIGINT");
  child.kill("SIGINT");
  const startMs = performance.now();
  // A signal may be merged with one that is still pending.
  const again = setInterval(() => child.kill("SIGINT"), 50);
  const [code] = await closed;
  clearInterval(again);
  assert.equal(code, 130);
  assert.ok(performance.now() - startMs < 20_000);
  await at.ok(["backup", at.source]);
  assert.match(await at.ok(["check", "--read-data"]), /no errors/);
});

test("a reader that goes away ends a listing quietly, and no backup", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const piped = (command: string) =>
    run("bash", ["-c", `set -o pipefail; "$0" ${command}`, HOLDFAST, at.source], { env: at.env });
  const backup = await piped('backup -vv "$1" | exec true');
  assert.deepEqual([backup.status, backup.stderr], [0, ""]);
  assert.equal((await at.json(["snapshots"]))[0].length, 1);
  // More than a pipe holds, so that the listing is still at it.
  const dump = await piped('dump latest "$1/sub/large" | head -c 1');
  assert.deepEqual([dump.status, dump.stdout, dump.stderr], [141, "0", ""]);
});

test("an output that cannot be written to is an error", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const { status, stderr } = await run("bash", ["-c", `"$0" cat config >/dev/full`, HOLDFAST], { env: at.env });
  assert.equal(status, 1);
  assert.match(stderr, /could not write to standard output/);
});
