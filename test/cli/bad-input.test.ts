/** What goes wrong in a person's hands: each gets a clear message, the right exit code, and does no harm. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { createLocalStorage } from "../../src/storage/local.ts";
import { notePruning } from "../../src/repository/running.ts";
import { atEnd } from "../support/at-end.ts";
import { checkoutFolder } from "../support/holdfast.ts";
import { mountFileSystem } from "../support/file-system-image.ts";
import { isRoot, skipUnless } from "../support/requirements.ts";
import { run, runOk, type CommandResult } from "../support/run-command.ts";
import { workplace, type Workplace } from "./workplace.ts";

function assertFails({ status, stdout, stderr }: CommandResult, exitCode: number, message: RegExp): void {
  assert.equal(status, exitCode, stderr + stdout);
  assert.match(stderr, message);
  assert.doesNotMatch(stderr, /bug in Holdfast|\n +at /);
}

async function withSnapshot(at: Workplace): Promise<void> {
  await at.makeRepository();
  await at.ok(["backup", at.source]);
}

function packsOf(at: Workplace): string[] {
  const files = readdirSync(path.join(at.repository, "packs"), { recursive: true, withFileTypes: true });
  return files.filter((file) => file.isFile()).map((file) => path.join(file.parentPath, file.name));
}

test("what is typed wrongly is said, with a hint, and ends with 1", async (t) => {
  const at = workplace(t);
  for (const [args, message] of [
    [["bakcup"], /unknown command 'bakcup'\n +Did you mean backup\?/],
    [["backup", "--exlude", "x"], /unknown option '--exlude'\n +Did you mean --exclude\?/],
    [["forget", "--keep-daily", "many"], /--keep-daily: "many" is neither a number nor "unlimited"/],
    [["forget", "--keep-within", "2w"], /--keep-within: "2w" is not a duration\n +write it like 2y5m7d3h/],
    [["backup", "--exclude-larger-than", "5GB", "."], /--exclude-larger-than: "5GB" is not a size/],
    [["check", "--read-data-subset", "6/5"], /--read-data-subset: "6\/5" is not a part/],
    [["restore"], /missing required argument 'snapshot'\n +see "holdfast restore --help"/],
    [["-q", "key", "remove"], /missing required argument 'id'\n +see "holdfast key remove --help"/],
    [["backup"], /nothing is named that should be saved/],
    [["backup", "--stdin", "."], /with --stdin no paths/],
  ] as const) {
    assertFails(await at.run(args), 1, message);
  }
  const unnamed = await at.run(["snapshots"], { env: { HOLDFAST_REPOSITORY: undefined } });
  assertFails(unnamed, 1, /no repository is named\n +use --repo/);
});

test("where there is no repository, it ends with 10", async (t) => {
  const at = workplace(t);
  assertFails(await at.run(["snapshots"]), 10, /there is no repository at .*holdfast init/s);
  mkdirSync(at.repository);
  assertFails(await at.run(["backup", at.source]), 10, /there is no repository at/);
  assert.deepEqual(readdirSync(at.repository), []);
  const { stderr } = await at.run(["snapshots", "--json"]);
  assert.deepEqual(JSON.parse(stderr).code, 10);
});

test("a repository that has lost its config is not made into another one", async (t) => {
  const at = workplace(t);
  await withSnapshot(at);
  rmSync(path.join(at.repository, "config"));
  const before = readdirSync(at.repository, { recursive: true });
  assertFails(await at.run(["init"]), 1, /there is no config at .*\n +put a copy of its config back/);
  assert.deepEqual(readdirSync(at.repository, { recursive: true }), before);
});

test("an init that was broken off before the config is done again", async (t) => {
  const at = workplace(t);
  await at.ok(["init"]);
  rmSync(path.join(at.repository, "config"));
  await at.ok(["init"]);
  await at.ok(["backup", at.source]);
});

test("help that nobody reads, or that finds no room, is no crash", async (t) => {
  const at = workplace(t);
  const program = path.join(checkoutFolder, "bin/holdfast");
  const gone = await run("bash", ["-c", '"$0" --help | true; exit ${PIPESTATUS[0]}', program], { env: at.env });
  assert.ok(gone.status === 141 || gone.status === 0, gone.stderr);
  assert.equal(gone.stderr, "");
  const full = await run("sh", ["-c", 'exec "$0" --help > /dev/full', program], { env: at.env });
  assertFails(full, 1, /^Fatal: could not write to standard output: ENOSPC/);
});

test("a wrong password ends with 12", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  assertFails(await at.run(["snapshots"], { env: { HOLDFAST_PASSWORD: "wrong" } }), 12, /the password opens none/);
});

test("init where there is a repository already changes nothing", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const config = readFileSync(path.join(at.repository, "config"));
  assertFails(await at.run(["init"]), 1, /there is a repository at .* already/);
  assert.deepEqual(readFileSync(path.join(at.repository, "config")), config);
  assert.equal(readdirSync(path.join(at.repository, "keys")).length, 1);
});

test("a repository of a newer format is left alone", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const file = path.join(at.repository, "config");
  chmodSync(file, 0o600);
  writeFileSync(file, readFileSync(file, "utf8").replace('"format": 1', '"format": 2'));
  for (const args of [["snapshots"], ["backup", at.source], ["prune"]])
    assertFails(await at.run(args), 1, /has format 2; .*\n +update Holdfast/);
});

test("a path that is not there does not keep the others from being saved, and ends with 3", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const result = await at.run(["backup", path.join(at.folder, "nothing"), at.source]);
  assertFails(result, 3, /nothing.*no such file/);
  assert.ok((await at.ok(["ls", "latest"])).includes("a.txt"));
  assertFails(await at.run(["backup", path.join(at.folder, "nothing")]), 1, /none of what is to be saved is there/);
  assert.equal((await at.json(["snapshots"]))[0].length, 1);
});

test("a file that may not be read is named, and ends with 3", async (t) => {
  const at = workplace(t);
  const nobody = isRoot ? { uid: 65_534, gid: 65_534 } : {};
  if (isRoot) await runOk("chown", ["-R", "65534:65534", at.folder]);
  const reached = await at.run(["version"], nobody).catch(() => undefined);
  if (reached?.status !== 0) return t.skip("the checkout lies where only root can go");
  await at.ok(["init"], nobody);
  chmodSync(path.join(at.source, "a.txt"), 0);
  assertFails(await at.run(["backup", at.source], nobody), 3, /a\.txt.*permission denied/i);
  assert.ok((await at.ok(["ls", "latest"], nobody)).includes("b.txt"));
});

test("a snapshot that is not there, or named ambiguously, is said to be so", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  assertFails(await at.run(["ls", "latest"]), 1, /there is no snapshot that matches/);
  await at.ok(["backup", at.source]);
  const [[{ id }]] = await at.json(["snapshots"]);
  assertFails(await at.run(["ls", "0123456789"]), 1, /there is no snapshot 0123456789/);
  assertFails(await at.run(["ls", "xyz"]), 1, /"xyz" is no snapshot id/);
  writeFileSync(path.join(at.repository, "snapshots", `${id.slice(0, 4)}${"0".repeat(60)}`), "");
  assertFails(await at.run(["ls", id.slice(0, 4)]), 1, /2 snapshots have ids that start with/);
});

test("restore into a folder that is not empty says so, and leaves what is not in the snapshot", async (t) => {
  const at = workplace(t);
  await withSnapshot(at);
  const target = path.join(at.folder, "target");
  mkdirSync(target);
  writeFileSync(path.join(target, "own"), "mine");
  assert.match(await at.ok(["restore", `latest:${at.source}`, "-t", target]), /is not empty: .* others stay/);
  assert.equal(readFileSync(path.join(target, "own"), "utf8"), "mine");
  writeFileSync(path.join(target, "a.txt"), "changed here");
  await at.ok(["restore", `latest:${at.source}`, "-t", target, "--overwrite", "never"]);
  assert.equal(readFileSync(path.join(target, "a.txt"), "utf8"), "changed here");
});

test("restore goes through no symbolic link that it finds in the target", async (t) => {
  const at = workplace(t);
  await withSnapshot(at);
  const [target, outside] = ["target", "outside"].map((name) => path.join(at.folder, name));
  mkdirSync(target);
  mkdirSync(outside);
  symlinkSync(outside, path.join(target, "sub"));
  await at.run(["restore", `latest:${at.source}`, "-t", target]);
  assert.deepEqual(readdirSync(outside), []);
});

test("two backups at once both succeed, and both are whole", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  const other = path.join(at.folder, "other");
  mkdirSync(other);
  writeFileSync(path.join(other, "random"), randomBytes(2_000_000));
  await Promise.all([at.ok(["backup", at.source]), at.ok(["backup", other, at.source])]);
  assert.equal((await at.json(["snapshots"]))[0].length, 2);
  assert.match(await at.ok(["check", "--read-data"]), /no errors/);
});

test("a prune beside another prune ends with 11", async (t) => {
  const at = workplace(t);
  await withSnapshot(at);
  const storage = await createLocalStorage(at.repository);
  const note = await notePruning(storage);
  atEnd(t, () => storage.close());
  assertFails(await at.run(["prune"]), 11, /is being pruned by process/);
  await note.remove();
  await at.ok(["prune"]);
});

test("a prune that is killed does no harm, and the next one goes on", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  for (let number = 0; number < 4; number++) {
    writeFileSync(path.join(at.source, "random"), randomBytes(3_000_000));
    await at.ok(["backup", at.source]);
  }
  await at.ok(["forget", "--keep-last", "1"]);
  for (const milliseconds of [250, 350, 450]) {
    await at.run(["prune", "--max-unused", "0"], { timeoutMs: milliseconds });
    assert.match(await at.ok(["check", "--read-data"]), /no errors/);
  }
  await at.ok(["prune", "--max-unused", "0"]);
  await at.ok(["restore", "latest", "-t", path.join(at.folder, "restored"), "--verify"]);
});

test("after a clock that was wrong, backups go on, and rules remove nothing because of it", async (t) => {
  const at = workplace(t);
  await at.makeRepository();
  await at.ok(["backup", at.source, "--time", "2099-01-01"]);
  await at.ok(["backup", at.source]);
  const forgotten = await at.ok(["forget", "--keep-within", "1d", "--dry-run"]);
  assert.doesNotMatch(forgotten, /would remove/);
  const [listed] = await at.json(["snapshots"]);
  assert.equal(listed.length, 2);
  await at.ok(["restore", listed[0].id, "-t", path.join(at.folder, "restored")]);
});

for (const [name, damage] of [
  ["missing", (file: string) => rmSync(file)],
  ["truncated", (file: string) => truncateSync(file, 1000)],
  [
    "altered",
    (file: string) => {
      const bytes = readFileSync(file);
      bytes[bytes.length >> 1] ^= 1;
      writeFileSync(file, bytes);
    },
  ],
] as const) {
  test(`a pack that is ${name} is found by check; restore says what is lost, brings back the rest, and repair puts it in order`, async (t) => {
    const at = workplace(t);
    await at.makeRepository();
    writeFileSync(path.join(at.source, "random"), randomBytes(100_000));
    await at.ok(["backup", path.join(at.source, "random")]);
    const [lost] = packsOf(at);
    await at.ok(["backup", at.source]);
    chmodSync(lost, 0o600);
    damage(lost);
    assertFails(await at.run(["check", "--read-data"]), 1, /error: packs\/.*\n[^]*the repository has \d+ errors?/);
    const target = path.join(at.folder, "restored");
    assertFails(await at.run(["restore", `latest:${at.source}`, "-t", target]), 1, /error: .*random/);
    assert.equal(readFileSync(path.join(target, "a.txt"), "utf8"), "first\n");
    assert.ok(!readdirSync(target).includes("random"));
    await at.run(["repair", "index"]);
    await at.run(["repair", "packs"]);
    await at.run(["repair", "snapshots", "--forget"]);
    await at.ok(["check", "--read-data"]);
    await at.ok(["backup", at.source]);
    await at.ok(["restore", `latest:${at.source}`, "-t", target]);
    assert.ok(readdirSync(target).includes("random"));
  });
}

const needsMounts = { skip: skipUnless({ root: true, commands: ["mkfs.ext4", "mount"] }) };

test(
  "on a full disc a backup fails with a reason, and what was there stays whole and can be pruned",
  needsMounts,
  async (t) => {
    const at = workplace(t);
    const disc = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 24 });
    const repo = ["-r", path.join(disc, "repository")];
    await at.ok([...repo, "init"]);
    writeFileSync(path.join(at.source, "random"), randomBytes(8 * 1024 ** 2));
    await at.ok([...repo, "backup", at.source]);
    writeFileSync(path.join(at.source, "random"), randomBytes(32 * 1024 ** 2));
    assertFails(await at.run([...repo, "backup", at.source]), 1, /no space left|disc is full/i);
    await at.ok([...repo, "snapshots"]);
    await at.ok([...repo, "prune"]);
    assert.match(await at.ok([...repo, "check", "--read-data"]), /no errors/);
    rmSync(path.join(at.source, "random"));
    await at.ok([...repo, "backup", at.source]);
  },
);

test("a repository on a read-only disc can be read, and refuses to be written to", needsMounts, async (t) => {
  const at = workplace(t);
  const disc = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 24 });
  const repo = ["-r", path.join(disc, "repository")];
  await at.ok([...repo, "init"]);
  await at.ok([...repo, "backup", at.source]);
  await runOk("mount", ["-o", "remount,ro", disc]);
  await at.ok([...repo, "restore", "latest", "-t", path.join(at.folder, "restored")]);
  await at.ok([...repo, "check"]);
  assertFails(await at.run([...repo, "backup", at.source]), 1, /read-only/i);
  assertFails(await at.run([...repo, "forget", "latest"]), 1, /read-only/i);
});

test("folders that no kernel would make hold nothing up", async (t) => {
  const at = workplace(t);
  const env = { HOLDFAST_CACHE_DIR: "/proc/holdfast/cache", HOLDFAST_CONFIG_DIR: "/proc/holdfast/config" };
  await at.ok(["init"], { env });
  await at.ok(["backup", at.source], { env });
  const restored = await at.run(["restore", "latest", "--target", "/proc/holdfast/target"], { env });
  assertFails(restored, 1, /could not make the folder \/proc\/holdfast\/target: no such file/);
});
