import assert from "node:assert/strict";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { BEYOND_RSYNC, buildAwkwardTree, scrambledBytes } from "../../support/awkward-tree.ts";
import { assertSameForRsync } from "./same-for-rsync.ts";
import { newHoldfast } from "../../support/holdfast.ts";
import type { Holdfast } from "../../support/holdfast.ts";
import { run, runOk } from "../../support/run-command.ts";
import type { CommandResult } from "../../support/run-command.ts";
import { skipUnless } from "../../support/requirements.ts";
import { startSshServer } from "../../support/ssh-server.ts";
import type { SshServer } from "../../support/ssh-server.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";

const TOOLS = ["rsync", "ssh", "tar", "find", "getfattr", "setfattr", "setfacl", "lsattr", "chattr", "setcap", "mknod"];
const skip = skipUnless({ root: true, commands: TOOLS });

const rsh = (server: SshServer): string => ["ssh", ...server.clientOptions].join(" ");

test("an awkward tree of another host comes back as it was, and is not sent again", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const folder = temporaryFolder(t);
  const original = path.join(folder, "original");
  mkdirSync(original);
  await buildAwkwardTree(original, { asRoot: true });
  await withoutWhatRsyncCannotSend(original);

  const from = ["--rsh", rsh(server), `127.0.0.1:${original}`];
  await holdfast.ok(["backup", ...from]);
  const target = path.join(folder, "restored");
  await holdfast.ok(["restore", `latest:${original}`, "--target", target]);
  await assertSameForRsync(original, target);

  const summary = await holdfast.ok(["backup", "--json", ...from]);
  assert.match(summary, /"files_changed":0/);
  assert.match(summary, /"data_blobs":0/);
  await holdfast.ok(["check", "--read-data"]);
});

/** Paths that are too long, and files of 100 GiB of zeros. Where holes are, and inode flags, it does not send either. */
async function withoutWhatRsyncCannotSend(folder: string): Promise<void> {
  for (const name of BEYOND_RSYNC) rmSync(path.join(folder, name), { recursive: true });
  await run("chattr", ["-R", "-i", "-a", "-d", folder]);
}

test("long runs of zeros come back as holes, others as they are", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const folder = temporaryFolder(t);
  const original = path.join(folder, "original");
  mkdirSync(original);
  const data = scrambledBytes("data", 300_000);
  const contents: [name: string, parts: Buffer[]][] = [
    ["hole-first", [Buffer.alloc(2_000_000), data]],
    ["hole-last", [data, Buffer.alloc(2_000_000)]],
    ["only-zeros", [Buffer.alloc(3_000_000)]],
    ["short-runs", [data, Buffer.alloc(50_000), data, Buffer.alloc(4095), data, data]],
    ["many", [data, Buffer.alloc(140_000), data, Buffer.alloc(1_000_001), data, Buffer.alloc(1)]],
  ];
  for (const [name, parts] of contents) writeFileSync(path.join(original, name), Buffer.concat(parts));
  await holdfast.ok(["backup", "--rsh", rsh(server), `127.0.0.1:${original}`]);
  const target = path.join(folder, "restored");
  await holdfast.ok(["restore", `latest:${original}`, "--target", target, "--sparse"]);
  assert.equal(await runOk("rsync", ["-aHAXnic", "--delete", `${original}/`, `${target}/`]), "");
  const { blocks } = statSync(path.join(target, "only-zeros"));
  assert.equal(blocks, 0);
});

test("what has changed there is found, and what is gone is gone", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const original = temporaryFolder(t);
  writeFileSync(path.join(original, "kept"), "kept\n");
  writeFileSync(path.join(original, "gone"), "gone\n");
  writeFileSync(path.join(original, "grows"), scrambledBytes("grows", 500_000));
  const from = ["--rsh", rsh(server), `127.0.0.1:${original}/`];
  await holdfast.ok(["backup", ...from]);

  rmSync(path.join(original, "gone"));
  appendFileSync(path.join(original, "grows"), "more");
  symlinkSync("kept", path.join(original, "new"));
  const summary = JSON.parse((await holdfast.ok(["backup", "--json", ...from])).trim().split("\n").at(-1) ?? "{}");
  assert.equal(summary.files_changed, 1);
  assert.equal(summary.files_unmodified, 1);
  assert.equal(summary.others_new, 1);
  const target = path.join(temporaryFolder(t), "restored");
  await holdfast.ok(["restore", `latest:${original}`, "--target", target]);
  await assertSameForRsync(original, target);
});

test("of a file whose attributes alone have changed, the content is not asked for", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const original = temporaryFolder(t);
  const file = path.join(original, "file");
  writeFileSync(file, "kept\n");
  linkSync(file, path.join(original, "linked"));
  const reference = path.join(temporaryFolder(t), "reference");
  await runOk("cp", ["-p", file, reference]);
  const from = ["--rsh", rsh(server), `127.0.0.1:${original}/`];
  await holdfast.ok(["backup", ...from]);

  // If it were sent, this would show.
  writeFileSync(file, "KEPT\n");
  await runOk("touch", ["-r", reference, file]);
  chmodSync(file, 0o600);
  chownSync(file, 1234, 2345);
  await runOk("setfattr", ["-n", "user.note", "-v", "long ".repeat(40), file]);
  await runOk("setfacl", ["-m", "u:1234:r", file]);
  const summary = JSON.parse((await holdfast.ok(["backup", "--json", ...from])).trim().split("\n").at(-1) ?? "{}");
  assert.equal(summary.files_changed, 2);
  assert.equal(summary.data_blobs, 0);
  const target = path.join(temporaryFolder(t), "restored");
  await holdfast.ok(["restore", `latest:${original}`, "--target", target]);
  assert.equal(readFileSync(path.join(target, "file"), "utf8"), "kept\n");
  // But for the content, all is as it is there: without -c, rsync does not look at that.
  assert.equal(await runOk("rsync", ["-aHAXni", "--delete", `${original}/`, `${target}/`]), "");
  const again = JSON.parse((await holdfast.ok(["backup", "--json", ...from])).trim().split("\n").at(-1) ?? "{}");
  assert.equal(again.files_unmodified, 2);
});

test("what is excluded is neither saved nor sent", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const original = temporaryFolder(t);
  mkdirSync(path.join(original, "cache/deep"), { recursive: true });
  for (const name of ["a.txt", "a.iso", "A.ISO", "cache/x", "cache/deep/y"])
    writeFileSync(path.join(original, name), name);
  writeFileSync(path.join(original, "large"), Buffer.alloc(20_000));
  const excludes = ["--exclude", "*.iso", "--iexclude", "*.iso", "--exclude", "cache/", "--exclude-larger-than", "10k"];
  await holdfast.ok(["backup", "--rsh", rsh(server), ...excludes, `127.0.0.1:${original}`]);
  const listed = await holdfast.ok(["ls", `latest:${original}`]);
  assert.deepEqual(
    listed
      .split("\n")
      .filter((line) => /a\.|iso|cache|large/i.test(line))
      .map((line) => path.basename(line.trim())),
    ["a.txt"],
  );
});

test("where all that is named is excluded, there is an error and no snapshot", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const folder = temporaryFolder(t);
  const original = path.join(folder, "above/original");
  mkdirSync(path.join(original, "kept"), { recursive: true });
  writeFileSync(path.join(original, "kept/file"), "x");
  // Some are rsync's to leave out, some ours.
  for (const pattern of ["*", "above", "above/*", original, path.dirname(original)]) {
    const excludes = ["--exclude", pattern];
    const result = await holdfast.run(["backup", "--rsh", rsh(server), ...excludes, `127.0.0.1:${original}`]);
    assert.equal(result.status, 1, pattern);
    assert.match(result.stderr, /Fatal: there is nothing to save: all that was named is excluded/, pattern);
    assert.match(result.stderr, /Look at the exclude patterns/, pattern);
  }
  assert.equal((await snapshotDays(holdfast)).length, 0);
  await holdfast.ok(["backup", "--rsh", rsh(server), "--exclude", `${original}/*`, `127.0.0.1:${original}`]);
});

test(
  "works as a line of cron that a person types: silent, with a file of excludes, and what is too old goes",
  { skip },
  async (t) => {
    const server = await startSshServer(t);
    const holdfast = await newHoldfast(t);
    const folder = temporaryFolder(t);
    const home = path.join(folder, "home");
    mkdirSync(path.join(home, "ann/cache"), { recursive: true });
    for (const name of ["ann/a.txt", "ann/b.iso", "ann/cache/x", "my_excludes"])
      writeFileSync(path.join(home, name), name);
    writeFileSync(path.join(folder, "my_excludes"), "# not these\n*.iso\ncache/\n");
    const env = { HOLDFAST_RSH: rsh(server), HOLDFAST_REPOSITORY: undefined };
    const line = [
      "backup",
      "-e",
      "my_excludes",
      `127.0.0.1:${home}`,
      "-r",
      holdfast.repository,
      "--keep-within",
      "29d",
    ];
    const cron = async (...more: string[]) => holdfast.run([...line, ...more], { cwd: folder, env });
    for (const time of ["2026-01-01", "2026-01-20"]) {
      assert.deepEqual(silence(await cron("--time", time)), [0, "", ""]);
      assert.deepEqual((await snapshotDays(holdfast)).at(-1), time);
    }
    assert.deepEqual(await snapshotDays(holdfast), ["2026-01-01", "2026-01-20"]);
    const spoken = await cron("--time", "2026-02-10", "-v");
    assert.match(spoken.stdout, /removed snapshot[^]*snapshot [0-9a-f]{8} saved|saved[^]*removed snapshot/);
    assert.deepEqual(await snapshotDays(holdfast), ["2026-01-20", "2026-02-10"]);
    const listed = await holdfast.ok(["ls", "latest"]);
    assert.match(listed, /a\.txt/);
    assert.doesNotMatch(listed, /b\.iso|cache|my_excludes/);

    writeFileSync(path.join(folder, "my_excludes"), "; rsync's own\r\n+ b.iso\r\n- *.iso\r\n- a.txt\r\n");
    assert.deepEqual(silence(await cron("--time", "2026-02-11")), [0, "", ""]);
    const byRules = await holdfast.ok(["ls", "latest"]);
    assert.match(byRules, /b\.iso[^]*cache/);
    assert.doesNotMatch(byRules, /a\.txt/);

    // Other hosts and paths have rules of their own.
    await holdfast.ok(["backup", "--time", "2020-01-01", home]);
    assert.deepEqual(silence(await cron()), [0, "", ""]);
    assert.ok((await snapshotDays(holdfast)).includes("2020-01-01"));
    await holdfast.ok(["check", "--read-data"]);

    rmSync(home, { recursive: true });
    const failed = await cron();
    assert.equal(failed.status, 1);
    assert.match(failed.stderr, /No such file or directory/);
  },
);

test("places on a host are named as rsync's users name them", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const folder = temporaryFolder(t);
  for (const name of ["a", "b b", "c'\"$(x)", "-d", "*"]) {
    mkdirSync(path.join(folder, name));
    writeFileSync(path.join(folder, name, "file"), name);
  }
  // A home folder of its own.
  const shell = path.join(folder, "rsh");
  writeFileSync(shell, `#!/bin/sh\nshift\ncd ${folder} && exec sh -c "$*"\n`, { mode: 0o755 });
  const cases: [args: string[], saved: string[]][] = [
    [["h:~"], ["*", "-d", "a", "b b", "c'\"$(x)"]],
    [
      ["h:-d/", "h:./*", ":~/b b", ":c'\"$(x)"],
      ["*", "-d", "b b", "c'\"$(x)"],
    ],
  ];
  for (const [args, saved] of cases) {
    await holdfast.ok(["backup", "--rsh", shell, ...args]);
    const listed = await holdfast.ok(["ls", "latest"]);
    const found = [...listed.matchAll(/^\/(.*)\/file$/gm)].map(([, name]) => name);
    assert.deepEqual(found, saved, args.join(" "));
  }
  await holdfast.ok(["backup", "--rsh", rsh(server), `127.0.0.1:${folder}/a`, `:${folder}/b b`]);
  const other = await run("bash", ["-c", `exec bin/holdfast backup --rsh ${shell} $'h:caf\\xe9'`], {
    env: holdfast.env,
  });
  assert.equal(other.status, 1);
  assert.match(other.stderr, /only be named where it is UTF-8: h:caf\\xe9\n +name the folder/);
});

function silence({ status, stdout, stderr }: CommandResult): unknown[] {
  return [status, stdout, stderr];
}

async function snapshotDays(holdfast: Holdfast): Promise<string[]> {
  const snapshots = JSON.parse(await holdfast.ok(["snapshots", "--json"])) as { time: string }[];
  return snapshots.map(({ time }) => time.slice(0, 10));
}

test("a file that cannot be read there is named, and the rest is saved", { skip }, async (t) => {
  const holdfast = await newHoldfast(t);
  const original = temporaryFolder(t);
  writeFileSync(path.join(original, "good"), "good");
  const here = path.join(temporaryFolder(t), "rsh");
  // What it complains of comes on a way of its own, and may come late.
  writeFileSync(here, `#!/bin/bash\nshift\nsh -c "$*" 2> >(sleep 2; exec cat >&2)\n`, { mode: 0o755 });
  const pull = ["backup", "--rsh", here, `127.0.0.1:${original}`, `127.0.0.1:${original}/nothing`];
  const result = await holdfast.run(pull);
  assert.equal(result.status, 3, result.stderr);
  assert.match(result.stderr, /nothing.*No such file or directory/);
  // Or it is lost on the way: then the way it ends still tells that there was something.
  writeFileSync(here, `#!/bin/sh\nshift\nsh -c "$*" 2>/dev/null\n`, { mode: 0o755 });
  const silent = await holdfast.run(pull);
  assert.equal(silent.status, 3, silent.stderr);
  assert.match(silent.stderr, /some files or attributes were not transferred/);
  assert.match(await holdfast.ok(["ls", "latest"]), /good/);
});

test("says in words what is wrong when a host cannot be pulled from", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const cases: [args: string[], message: RegExp][] = [
    [
      ["--rsh", rsh(server).replace("ssh ", "ssh -oPort=1 "), "127.0.0.1:/etc"],
      /cannot log in to 127\.0\.0\.1 with ssh: .*Connection refused/,
    ],
    [
      ["--rsh", rsh(server), "127.0.0.1:/no/such/folder"],
      /link_stat "\/no\/such\/folder" failed: No such file or directory/,
    ],
    [
      ["--rsh", `${rsh(server)} -oIdentityFile=/dev/null`.replace(server.identityFile, "/dev/null"), "127.0.0.1:/etc"],
      /cannot log in to 127\.0\.0\.1 with ssh: .*Permission denied[^]*must stand in authorized_keys/,
    ],
    [
      ["--rsh", rsh(server).replace(server.knownHostsFile, "/dev/null"), "127.0.0.1:/etc"],
      /key is known[^\\]*\n +log in once by hand/,
    ],
    [
      ["--rsh", "/no/such/ssh", "127.0.0.1:/etc"],
      /\/no\/such\/ssh could not be started here: there is no such program\n +the remote shell is ssh/,
    ],
    [["--rsh", "sh -c exit", "127.0.0.1:/etc"], /127\.0\.0\.1/],
    [["--rsh", "echo", "127.0.0.1:/etc"], /does not speak rsync; it said "127\.0\.0\.1 rsync/],
    [["127.0.0.1::module"], /rsync daemon/],
    [["ssh://127.0.0.1/etc"], /no place on another host[^]*write HOST:PATH/],
    [["127.0.0.1:~ann/x"], /~ann is not looked up[^]*write the full path/],
    [["--rsh", rsh(server), "127.0.0.1:/etc/no-such-*"], /nothing to save at \/etc\/no-such-\*[^]*Wildcards/],
    [["--rsh", rsh(server), "--ssh-port", "22", "127.0.0.1:/etc"], /--ssh-port [^]*give it its options yourself/],
    [["127.0.0.1:/etc", "localhost:/etc"], /localhost:\/etc is not on 127\.0\.0\.1/],
    [["-oProxyCommand=x:/etc"].map((arg) => `./${arg}`), /not there|no such/i],
    [["127.0.0.1:/etc", "/etc"], /one host/],
    [["--rsh", rsh(server), "127.0.0.1:/etc/../root"], /part "\.\."/],
  ];
  for (const [args, message] of cases) {
    const result = await holdfast.run(["backup", ...args]);
    assert.notEqual(result.status, 0, args.join(" "));
    assert.match(result.stderr, message, args.join(" "));
    assert.doesNotMatch(result.stderr, /\n\s+at /, "no stack trace");
  }
});

test("pulls through a forced command that allows the plainest command only", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const original = temporaryFolder(t);
  writeFileSync(path.join(original, "file"), "content");
  const gate = path.join(temporaryFolder(t), "forced");
  server.restrictKey(`restrict,command="${gate}"`);
  const refusals = ["echo Rejected", "echo no", "exit 0", 'echo "refused: $SSH_ORIGINAL_COMMAND" >&2; exit 1'];
  for (const [index, refuse] of refusals.entries()) {
    writeFileSync(
      gate,
      `#!/bin/sh
case "$SSH_ORIGINAL_COMMAND" in
  *[\\&\\(\\{\\;\\<\\\`]*) ${refuse} ;;
  "rsync --server --sender -logDtprR --numeric-ids . ${original}") exec $SSH_ORIGINAL_COMMAND ;;
  *) ${refuse} ;;
esac
`,
      { mode: 0o755 },
    );
    writeFileSync(path.join(original, "file"), `content ${index}`);
    await holdfast.ok(["backup", "--rsh", rsh(server), `127.0.0.1:${original}`]);
    assert.equal(await holdfast.ok(["dump", "latest", `${original}/file`]), `content ${index}`, refuse);
  }
  const refused = await holdfast.run(["backup", "--rsh", rsh(server), "127.0.0.1:/etc"]);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /refused: rsync --server --sender/);
});

test("pulls from an rsync of before 3.0, which has no ACLs and attributes", { skip }, async (t) => {
  const holdfast = await newHoldfast(t);
  const original = temporaryFolder(t);
  writeFileSync(path.join(original, "file"), "content");
  symlinkSync("file", path.join(original, "link"));
  const shell = path.join(temporaryFolder(t), "rsh");
  // As one that knows what is asked for, but speaks a protocol that lacks it.
  const old = "${command/--sender/--sender --protocol=29}";
  writeFileSync(shell, `#!/bin/bash\nshift\ncommand="$*"\nexec sh -c "${old}"\n`, { mode: 0o755 });
  await holdfast.ok(["backup", "--rsh", shell, `127.0.0.1:${original}`]);
  const target = path.join(temporaryFolder(t), "restored");
  await holdfast.ok(["restore", `latest:${original}`, "--target", target]);
  assert.equal(await runOk("rsync", ["-anic", "--delete", "--modify-window=1", `${original}/`, `${target}/`]), "");
});

test("says where the connection broke, why, and that the next run goes on from there", { skip }, async (t) => {
  const holdfast = await newHoldfast(t);
  const original = temporaryFolder(t);
  for (let i = 0; i < 30; i++) writeFileSync(path.join(original, `f${i}`), scrambledBytes(`f${i}`, 100_000));
  const shell = path.join(temporaryFolder(t), "rsh");
  const cut =
    "$left = 1e6; while ($left > 0 && sysread(STDIN, $b, 65536)) { syswrite(STDOUT, $b); $left -= length $b } kill 9, getppid";
  const text = `shift\necho 'the line is dead' >&2\nsh -c "$*" | perl -e '${cut}'\n`;
  writeFileSync(shell, `#!/bin/sh\n${text}`, { mode: 0o755 });
  const result = await holdfast.run(["backup", "--rsh", shell, `ann@h:${original}`]);
  assert.equal(result.status, 1);
  assert.match(
    result.stderr,
    /the connection to ann@h was closed before the end: .*the line is dead.*\n +run it again: what has arrived is not/,
  );
});

test(
  "pulls through rrsync -ro",
  { skip: skipUnless({ root: true, commands: ["rsync", "ssh", "rrsync"] }) },
  async (t) => {
    const server = await startSshServer(t);
    const holdfast = await newHoldfast(t);
    const original = temporaryFolder(t);
    mkdirSync(path.join(original, "docs"));
    writeFileSync(path.join(original, "docs/file"), "content");
    server.restrictKey(`restrict,command="rrsync -ro ${original}"`);
    await holdfast.ok(["backup", "--rsh", rsh(server), "127.0.0.1:docs"]);
    assert.equal(await holdfast.ok(["dump", "latest", "/docs/file"]), "content");
    await holdfast.ok(["backup", "--rsh", rsh(server), "127.0.0.1:/"]);
    assert.equal(await holdfast.ok(["dump", "latest", "/docs/file"]), "content");
  },
);

test("sends only what has changed in a large file", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const original = temporaryFolder(t);
  const file = path.join(original, "image");
  const content = scrambledBytes("image", 8 * 1024 * 1024);
  writeFileSync(file, content);
  const log = path.join(temporaryFolder(t), "bytes");
  const counting = path.join(temporaryFolder(t), "counting-rsh");
  writeFileSync(counting, `#!/bin/sh\n${rsh(server)} "$@" | tee /dev/stderr 2>>${log}\n`, { mode: 0o755 });
  const from = ["--rsh", counting, `127.0.0.1:${original}`];
  await holdfast.ok(["backup", ...from]);
  const firstBytes = readFileSync(log).length;
  assert.ok(firstBytes > content.length);
  content.set(scrambledBytes("other", 4096), 3_000_000);
  writeFileSync(file, content);
  await holdfast.ok(["backup", ...from]);
  const secondBytes = readFileSync(log).length - firstBytes;
  assert.ok(secondBytes < 100_000, `${secondBytes} bytes came`);
  const target = path.join(temporaryFolder(t), "restored");
  await holdfast.ok(["restore", `latest:${original}`, "--target", target]);
  await assertSameForRsync(original, target);
});

test("a run that cannot be leaves nothing running that it had started to reach the host", { skip }, async (t) => {
  const holdfast = await newHoldfast(t);
  const folder = temporaryFolder(t);
  const started = path.join(folder, "started");
  const shell = path.join(folder, "shell");
  writeFileSync(shell, `#!/bin/sh\necho $$ >> ${started}\nexec sleep 300\n`, { mode: 0o755 });
  const env = { HOLDFAST_REPOSITORY: path.join(folder, "no-repository") };
  const { status, stderr } = await holdfast.run(["backup", "--rsh", shell, "host:/x"], { env });
  assert.equal(status, 10);
  assert.match(stderr, /there is no repository/);
  const processes = readFileSync(started, "utf8").trim().split("\n");
  assert.equal(processes.length, 1);
  assert.throws(() => process.kill(Number(processes[0]), 0), /ESRCH/);
});
