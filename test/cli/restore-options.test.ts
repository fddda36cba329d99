import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { chmodSync, chownSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { checkoutFolder } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { run } from "../support/run-command.ts";
import { workplace } from "./workplace.ts";

test("--keep-damaged leaves what can be had of a file, which is not there else; both end with 1", async (t) => {
  const at = workplace(t);
  const content = randomBytes(12_000_000);
  writeFileSync(path.join(at.source, "media"), content);
  await at.makeRepository();
  await at.ok(["backup", at.source]);
  const packs = readdirSync(path.join(at.repository, "packs"), { recursive: true, encoding: "utf8" });
  const largest = packs
    .map((name) => path.join(at.repository, "packs", name))
    .sort((a, b) => statSync(b).size - statSync(a).size)[0];
  const bytes = readFileSync(largest);
  bytes[Math.floor(bytes.length / 2)] ^= 1;
  chmodSync(largest, 0o600);
  writeFileSync(largest, bytes);

  for (const keeps of [false, true]) {
    const target = path.join(at.folder, `kept-${keeps}`);
    const options = keeps ? ["--keep-damaged"] : [];
    const { status, stderr } = await at.run(["restore", `latest:${at.source}`, "-t", target, ...options]);
    assert.equal(status, 1);
    assert.match(stderr, /media/);
    assert.equal(readFileSync(path.join(target, "sub/b.txt"), "utf8"), "second\n");
    const file = path.join(target, "media");
    assert.equal(existsSync(file), keeps);
    if (!keeps) continue;
    const kept = readFileSync(file);
    assert.equal(kept.length, content.length);
    assert.ok(kept.subarray(0, 1000).equals(content.subarray(0, 1000)));
    assert.ok(!kept.equals(content));
  }
});

test(
  "--ownership-by-name gives a file to whoever has the saved name here, and else to the saved number",
  { skip: skipUnless({ root: true, commands: ["unshare", "mount"] }) },
  async (t) => {
    const at = workplace(t);
    const { uid } = userEntry("daemon");
    chownSync(path.join(at.source, "a.txt"), uid, uid);
    chownSync(path.join(at.source, "sub/b.txt"), 48_123, 48_123);
    await at.makeRepository();
    await at.ok(["backup", at.source]);
    // As on another machine, where that user has another number.
    const passwd = path.join(at.folder, "passwd");
    const lines = readFileSync("/etc/passwd", "utf8").split("\n");
    writeFileSync(passwd, lines.map((line) => line.replace(`daemon:x:${uid}:`, "daemon:x:47123:")).join("\n"));
    for (const [options, expected] of [
      [[], uid],
      [["--ownership-by-name"], 47_123],
    ] as const) {
      const target = path.join(at.folder, `by-name-${options.length}`);
      const program = path.join(checkoutFolder, "bin/holdfast");
      const script = 'mount --bind "$1" /etc/passwd && shift && exec "$@"';
      const command = [program, "restore", `latest:${at.source}`, "-t", target, ...options];
      const { status, stderr } = await run("unshare", ["-m", "sh", "-c", script, "sh", passwd, ...command], {
        env: at.env,
      });
      assert.equal(status, 0, stderr);
      assert.equal(statSync(path.join(target, "a.txt")).uid, expected);
      assert.equal(statSync(path.join(target, "sub/b.txt")).uid, 48_123);
    }
  },
);

test("prune --thorough is taken, and told of in the help of prune and forget", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  await at.ok(["backup", at.source]);
  await at.ok(["prune", "--thorough"]);
  for (const command of ["prune", "forget"]) assert.match(await at.ok([command, "--help"]), /--thorough/);
});

function userEntry(name: string): { readonly uid: number } {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((entry) => entry.startsWith(`${name}:`));
  return { uid: Number(line?.split(":")[2]) };
}
