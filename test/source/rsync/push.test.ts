import assert from "node:assert/strict";
import {
  appendFileSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { BEYOND_RSYNC, buildAwkwardTree, scrambledBytes } from "../../support/awkward-tree.ts";
import { COMPILED, newHoldfast } from "../../support/holdfast.ts";
import type { Holdfast } from "../../support/holdfast.ts";
import { skipUnless } from "../../support/requirements.ts";
import { run, runOk } from "../../support/run-command.ts";
import type { CommandResult } from "../../support/run-command.ts";
import { startSshServer } from "../../support/ssh-server.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { assertSameForRsync } from "./same-for-rsync.ts";

const TOOLS = ["rsync", "ssh", "tar", "find", "getfattr", "setfattr", "setfacl", "lsattr", "chattr", "setcap", "mknod"];
const skip = skipUnless({ root: true, commands: TOOLS });
const DOOR = path.join(import.meta.dirname, "door.ts");

interface Server {
  readonly holdfast: Holdfast;
  /** A folder with nothing in it yet. */
  readonly folder: string;
  /** Runs rsync, with `SERVER:` in its arguments for the server. */
  readonly rsync: (...args: string[]) => Promise<CommandResult>;
  /** As `rsync`, but killed when it has sent this file. */
  readonly killedAt: (file: string, ...args: string[]) => Promise<CommandResult>;
  readonly ok: (...args: string[]) => Promise<string>;
  /** How rsync is told of the way to the server. */
  readonly withShell: readonly string[];
  readonly snapshots: () => Promise<number>;
}

async function startServer(t: TestContext): Promise<Server> {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const caches = temporaryFolder(t);
  const password = "correct horse battery staple";
  const words = [process.execPath, DOOR, holdfast.repository, password, caches, "web1"].map((word) => `'${word}'`);
  const forced = path.join(temporaryFolder(t), "forced");
  writeFileSync(forced, `#!/bin/sh\nNODE_COMPILE_CACHE=${COMPILED} exec ${words.join(" ")}\n`, { mode: 0o755 });
  server.restrictKey(`restrict,command="${forced}"`);
  const withShell = ["-e", ["ssh", ...server.clientOptions].join(" ")];
  const whole = (args: readonly string[]): string[] => [
    ...withShell,
    ...args.map((arg) => arg.replace(/^SERVER:/, "127.0.0.1:")),
  ];
  const rsync = (...args: string[]): Promise<CommandResult> => run("rsync", whole(args));
  return {
    holdfast,
    withShell,
    folder: temporaryFolder(t),
    rsync,
    killedAt: (file, ...args) =>
      run("rsync", ["--out-format=sent %n", "--outbuf=L", ...whole(args)], { endAt: `sent ${file}\n` }),
    ok: async (...args) => {
      const result = await rsync(...args);
      assert.equal(result.status, 0, `${args.join(" ")}: ${result.stderr}`);
      return result.stdout;
    },
    snapshots: async () => (JSON.parse(await holdfast.ok(["snapshots", "--json"])) as unknown[]).length,
  };
}

test("an awkward tree that is pushed comes back as it was, by rsync and by restore", { skip }, async (t) => {
  const { holdfast, folder, ok } = await startServer(t);
  const original = path.join(folder, "original");
  mkdirSync(original);
  await buildAwkwardTree(original, { asRoot: true });
  for (const name of BEYOND_RSYNC) rmSync(path.join(original, name), { recursive: true });
  await run("chattr", ["-R", "-i", "-a", "-d", original]);

  await ok("-aHAX", "--numeric-ids", `${original}/`, "SERVER:data/");
  const restored = path.join(folder, "restored");
  await holdfast.ok(["restore", "latest:/data", "--target", restored]);
  await assertSameForRsync(original, restored);
  const fetched = path.join(folder, "fetched");
  await ok("-aHAX", "--numeric-ids", "SERVER:latest/data/", fetched);
  await assertSameForRsync(original, fetched);
  assert.equal(await ok("-aHAXin", "--numeric-ids", "SERVER:latest/data/", fetched), "", "nothing more to fetch");
  await holdfast.ok(["check", "--read-data"]);
});

test("only what has changed is sent again, and a snapshot holds just what was there", { skip }, async (t) => {
  const { holdfast, folder, ok, snapshots } = await startServer(t);
  writeFileSync(path.join(folder, "kept"), "kept");
  writeFileSync(path.join(folder, "gone"), "gone");
  const large = scrambledBytes("large", 4_000_000);
  writeFileSync(path.join(folder, "large"), large);
  await ok("-a", `${folder}/`, "SERVER:");
  assert.equal(await ok("-ai", `${folder}/`, "SERVER:"), "", "nothing is sent twice");

  rmSync(path.join(folder, "gone"));
  large.set(Buffer.from("changed"), 2_000_000);
  writeFileSync(path.join(folder, "large"), large);
  const said = await ok("-ai", "--stats", `${folder}/`, "SERVER:");
  assert.match(said, /^<f\S+ large$/m);
  assert.doesNotMatch(said, /kept/);
  const literal = Number(/Literal data: ([\d,]+)/.exec(said)?.[1].replaceAll(",", ""));
  assert.ok(literal < 10_000, `${literal} bytes of literal data`);
  assert.equal(await snapshots(), 3);
  const listed = await holdfast.ok(["ls", "latest"]);
  assert.match(listed, /kept/);
  assert.doesNotMatch(listed, /gone/);
  assert.equal((await holdfast.ok(["dump", "latest", "/large"])).includes("changed"), true);
});

test("a dry run tells what would be sent, and makes nothing", { skip }, async (t) => {
  const { folder, ok, snapshots } = await startServer(t);
  writeFileSync(path.join(folder, "file"), "one");
  await ok("-a", `${folder}/`, "SERVER:");
  writeFileSync(path.join(folder, "file"), "two!");
  writeFileSync(path.join(folder, "new"), "new");
  const said = await ok("-ain", `${folder}/`, "SERVER:");
  assert.match(said, /^<f\S+ file$/m);
  assert.match(said, /^<f\++ new$/m);
  assert.equal(await snapshots(), 1);
});

test("tells what changes, as an rsync into a folder does", { skip }, async (t) => {
  const { folder, ok } = await startServer(t);
  const [source, copy] = [path.join(folder, "source"), path.join(folder, "copy")];
  const at = (name: string): string => path.join(source, name);
  mkdirSync(at("a/b"), { recursive: true });
  mkdirSync(at("gone/deeper"), { recursive: true });
  mkdirSync(copy);
  for (const name of ["one", "a/two", "a/b/three", "gone/deeper/four", "gone/five"]) writeFileSync(at(name), name);
  writeFileSync(at("empty"), "");
  symlinkSync("one", at("link"));
  await runOk("mkfifo", [at("fifo")]);
  await runOk("mknod", [at("device"), "c", "1", "3"]);
  const setLong = (name: string, letter: string) =>
    runOk("setfattr", ["-n", "user.long", "-v", letter.repeat(300), at(name)]);
  await setLong("one", "x");
  await setLong("a", "x");
  await runOk("setfacl", ["-m", "u:1234:rwx", at("a/b")]);

  const assertToldAlike = async (...options: string[]): Promise<string[]> => {
    const into = async (said: Promise<string>): Promise<string[]> => {
      // Only the direction tells a copy on one machine from a push. The folder that is copied into was there before.
      const lines = (await said).replaceAll(/^>f/gm, "<f").replace(/^\S+ \.\/\n/m, "");
      return lines.trim().split("\n").sort();
    };
    const pushed = await into(ok("-aHAXi", ...options, `${source}/`, "SERVER:data/"));
    assert.deepEqual(pushed, await into(runOk("rsync", ["-aHAXi", ...options, `${source}/`, copy])), options.join(" "));
    return pushed;
  };
  await assertToldAlike("--dry-run");
  assert.ok((await assertToldAlike()).includes("cL+++++++++ link -> one"));
  assert.deepEqual(await assertToldAlike(), [""]);

  await runOk("chmod", ["600", at("one")]);
  await runOk("chown", ["1234:2345", at("a/b/three")]);
  appendFileSync(at("a/two"), " more");
  await runOk("touch", ["-d", "2020-02-02", at("a"), at("empty")]);
  rmSync(at("gone"), { recursive: true });
  rmSync(at("fifo"));
  mkdirSync(at("new"));
  writeFileSync(at("new/file"), "new");
  rmSync(at("link"));
  symlinkSync("a", at("link"));
  rmSync(at("device"));
  await runOk("mknod", [at("device"), "c", "1", "5"]);
  await setLong("one", "y");
  await runOk("setfattr", ["-x", "user.long", at("a")]);
  await runOk("setfacl", ["-m", "u:1234:r", at("a/b")]);
  await assertToldAlike("--dry-run");
  await assertToldAlike("--dry-run", "--delete");
  assert.ok((await assertToldAlike("--delete")).includes("*deleting   gone/deeper/four"));
  assert.deepEqual(await assertToldAlike("--delete"), [""]);
  assert.equal((await assertToldAlike("--ignore-times")).length, 5);
  assert.deepEqual(await assertToldAlike(), [""], "what was sent without need is not sent again");

  linkSync(at("one"), at("second"));
  assert.match(await ok("-aHAXi", `${source}/`, "SERVER:data/"), /^hf\+{9} second => one$/m);
  await runOk("touch", ["-d", "2021-01-01", at("one")]);
  const old = await ok("-aHi", "--protocol=29", `${source}/`, "SERVER:data/");
  assert.equal(old.match(/ one$/gm)?.length, 2, "once for itself, and once as the other name of the second");
});

test("understands the options that people push with", { skip }, async (t) => {
  const { holdfast, folder, ok } = await startServer(t);
  mkdirSync(path.join(folder, "a/b"), { recursive: true });
  writeFileSync(path.join(folder, "a/b/deep"), "deep");
  writeFileSync(path.join(folder, "a/x.o"), "object");
  writeFileSync(path.join(folder, "large"), Buffer.alloc(100_000, 1));
  const names = async (): Promise<string> => holdfast.ok(["ls", "latest"]);
  const cases: [args: string[], has: RegExp[], lacks: RegExp[]][] = [
    [["-a", "--exclude=*.o", `${folder}/`, "SERVER:"], [/\/a\/b\/deep/, /\/large/], [/x\.o/]],
    [["-az", "--delete", "--partial", "--checksum", `${folder}/`, "SERVER:"], [/x\.o/], []],
    [["-az", "--zc=zlib", "--timeout=60", "--bwlimit=100m", "-P", `${folder}/`, "SERVER:"], [/x\.o/], []],
    [["-aR", `${folder}/a/b`, "SERVER:"], [new RegExp(`${folder}/a/b/deep`)], [/large/, /x\.o/]],
    [["-a", path.join(folder, "a"), "SERVER:in/to"], [/\/in\/to\/a\/b\/deep/], [/large/]],
    [["-a", "--max-size=50k", `${folder}/`, "SERVER:"], [/deep/], [/large/]],
    [["-a", "--protocol=30", `${folder}/`, "SERVER:"], [/deep/], []],
    [["-aH", "--protocol=29", `${folder}/`, "SERVER:"], [/deep/], []],
    [["-as", `${folder}/`, "SERVER:with space/"], [/\/with space\/a\/b\/deep/], []],
    [["-a", "--cc=md5", "-S", "--inplace", "-O", "-v", `${folder}/`, "SERVER:"], [/deep/], []],
    [["-aAX", "--files-from=-", "--from0", folder, "SERVER:"], [/deep/], [/large/]],
  ];
  for (const [args, has, lacks] of cases) {
    const hasList = args.includes("--files-from=-");
    const list = path.join(temporaryFolder(t), "list");
    if (hasList) writeFileSync(list, "a/b/deep\0");
    await ok(...args.map((arg) => (arg === "--files-from=-" ? `--files-from=${list}` : arg)));
    const listed = await names();
    for (const pattern of has) assert.match(listed, pattern, args.join(" "));
    for (const pattern of lacks) assert.doesNotMatch(listed, pattern, args.join(" "));
  }
});

test("refuses what makes no sense for a snapshot, and says so through rsync", { skip }, async (t) => {
  const { folder, rsync, snapshots } = await startServer(t);
  writeFileSync(path.join(folder, "file"), "file");
  const cases: [args: string[], message: RegExp][] = [
    [["-a", "--append"], /--append is refused here: a snapshot is made from whole files/],
    [["-a", "--link-dest=../x"], /--link-dest is refused here/],
    [["-ab"], /older versions are kept in older snapshots/],
    [["-a", "--remove-source-files"], /does not take files away/],
    [["-au"], /a snapshot holds all that is sent/],
    [["-az", "--zc=lz4"], /zstd, zlibx and zlib are/],
    [["-a", "--cc=none"], /the checksum none is refused here/],
    [["-r"], /a snapshot needs all that rsync -a sends; -o -g -p -t -l is missing/],
    [["-a", "--list-only"], /--dry-run --itemize-changes tells what would be/],
    [["-am"], /empty folders belong to a snapshot/],
    [["-a", "--iconv=utf8,latin1"], /names are saved byte for byte/],
  ];
  for (const [args, message] of cases) {
    const result = await rsync(...args, `${folder}/`, "SERVER:");
    assert.equal(result.status, 4, args.join(" "));
    assert.match(result.stderr, message, args.join(" "));
    assert.doesNotMatch(result.stderr, /connection unexpectedly closed/, args.join(" "));
  }
  const outside = await rsync("-a", `${folder}/`, "SERVER:../../etc");
  assert.match(outside.stderr, /nothing above a snapshot/);
  const long = await rsync("-a", `${folder}/`, `SERVER:${"x".repeat(256)}`);
  assert.match(long.stderr, /a name of more than 255 bytes/);
  assert.equal(await snapshots(), 0);
});

test("an interrupted push makes no snapshot, and goes on when it is run again", { skip }, async (t) => {
  const { holdfast, folder, killedAt, ok, snapshots } = await startServer(t);
  for (let i = 0; i < 40; i++) {
    writeFileSync(path.join(folder, `file-${String(i).padStart(2, "0")}`), scrambledBytes(`file ${i}`, 1_000_000));
  }
  // Slow enough to be in the middle of it when it is cut.
  const cut = await killedAt("file-25", "-a", "--bwlimit=8m", `${folder}/`, "SERVER:data");
  assert.notEqual(cut.status, 0);
  assert.equal(await snapshots(), 0);
  const said = await ok("-a", "--stats", `${folder}/`, "SERVER:data");
  assert.equal(await snapshots(), 1);
  const sentAgain = Number(/Number of regular files transferred: ([\d,]+)/.exec(said)?.[1].replaceAll(",", ""));
  assert.ok(sentAgain < 40, `${sentAgain} of 40 files were sent again`);
  const target = path.join(temporaryFolder(t), "restored");
  await holdfast.ok(["restore", "latest:/data", "--target", target]);
  await assertSameForRsync(folder, target);
});

test("fetches as rsync users expect: listings, parts, filters, wildcards, deltas", { skip }, async (t) => {
  const { folder, rsync, ok } = await startServer(t);
  const original = path.join(folder, "original");
  mkdirSync(path.join(original, "etc/ssh"), { recursive: true });
  writeFileSync(path.join(original, "etc/ssh/sshd_config"), "Port 22\n");
  writeFileSync(path.join(original, "etc/passwd"), "root:x:0:0\n");
  writeFileSync(path.join(original, "image"), scrambledBytes("image", 3_000_000));
  await ok("-a", `${original}/`, "SERVER:");

  const listing = await ok("SERVER:");
  assert.match(listing, /^drwx\S+ .* \d{4}-\d\d-\d\dT\d\d:\d\d$/m);
  assert.match(listing, /latest/);
  const dated = /(\d{4}-\d\d-\d\dT\d\d:\d\d\S*)$/m.exec(listing)?.[1] ?? "";
  assert.match(await ok("-r", "SERVER:latest/etc/"), /ssh\/sshd_config/);

  const inTo = (name: string): string => path.join(folder, name);
  await ok("-a", "SERVER:latest/etc/", inTo("one"));
  await assertSameForRsync(path.join(original, "etc"), inTo("one"));
  await ok("-a", `SERVER:${dated}/etc/ssh`, inTo("two"));
  assert.deepEqual(readdirSync(inTo("two")), ["ssh"]);
  await ok("-aR", "SERVER:latest/./etc/ssh", inTo("three"));
  await assertSameForRsync(path.join(original, "etc/ssh"), path.join(inTo("three"), "etc/ssh"));
  await ok("-a", "--exclude=ssh", "SERVER:latest/etc/", inTo("four"));
  assert.deepEqual(readdirSync(inTo("four")), ["passwd"]);
  await ok("-a", "SERVER:latest/etc/pass*", `${inTo("five")}/`);
  assert.deepEqual(readdirSync(inTo("five")), ["passwd"]);
  writeFileSync(inTo("list"), "etc/passwd\netc/ssh/sshd_config\n");
  await ok("-a", `--files-from=${inTo("list")}`, "SERVER:latest/", inTo("six"));
  assert.equal((await run("find", [inTo("six"), "-type", "f"])).stdout.split("\n").length, 3);
  writeFileSync(inTo("folders"), "etc\netc/ssh/\n");
  await ok("-a", `--files-from=${inTo("folders")}`, "SERVER:latest/", inTo("seven"));
  assert.deepEqual(readdirSync(path.join(inTo("seven"), "etc")), ["ssh"], "a folder without what is in it");
  assert.deepEqual(readdirSync(path.join(inTo("seven"), "etc/ssh")), ["sshd_config"], "but with it after a slash");
  await ok("-aR", "--no-implied-dirs", "SERVER:latest/./etc/passwd", inTo("eight"));
  assert.deepEqual(readdirSync(path.join(inTo("eight"), "etc")), ["passwd"]);
  await ok("-ab", "--suffix=.old", "SERVER:latest/etc/passwd", inTo("eight"));

  for (const options of [["-a"], ["-az"], ["-azz"], ["-a", "--protocol=29"], ["-a", "-z", "--protocol=30"], ["-ac"]]) {
    const target = inTo("deltas");
    mkdirSync(target, { recursive: true });
    const old = scrambledBytes("image", 3_000_000);
    old.set(Buffer.from("something else"), 1_234_567);
    writeFileSync(path.join(target, "image"), old);
    utimesSync(path.join(target, "image"), 1, 1);
    const said = await ok(...options, "--stats", "SERVER:latest/image", `${target}/`);
    const literal = Number(/Literal data: ([\d,]+)/.exec(said)?.[1].replaceAll(",", ""));
    assert.ok(literal < 10_000, `${options.join(" ")}: ${literal} bytes of literal data`);
    await runOk("cmp", [path.join(target, "image"), path.join(original, "image")]);
  }

  const missing = await rsync("-a", "SERVER:latest/nothing", inTo("seven"));
  assert.equal(missing.status, 23);
  assert.match(missing.stderr, /No such file or directory/);
  const links = await rsync("-aL", "SERVER:latest/", inTo("eight"));
  assert.match(links.stderr, /links are given as what they are/);
  const above = await rsync("-a", "SERVER:../../etc/passwd", inTo("nine"));
  assert.match(above.stderr, /nothing above the list of snapshots/);
});

test("files of several snapshots that are fetched at once stay apart, hard links or not", { skip }, async (t) => {
  const { folder, ok } = await startServer(t);
  const original = path.join(folder, "original");
  mkdirSync(original);
  for (const text of ["first", "second, and longer"]) {
    writeFileSync(path.join(original, "name"), text);
    linkSync(path.join(original, "name"), path.join(original, "other name"));
    await ok("-aH", `${original}/`, "SERVER:");
    rmSync(path.join(original, "other name"));
  }
  const fetched = path.join(folder, "fetched");
  await ok("-aH", "SERVER:2*", fetched);
  const texts = readdirSync(fetched).map((name) => [
    readFileSync(path.join(fetched, name, "name"), "utf8"),
    readFileSync(path.join(fetched, name, "other name"), "utf8"),
    statSync(path.join(fetched, name, "name")).nlink,
  ]);
  assert.deepEqual(texts, [
    ["first", "first", 2],
    ["second, and longer", "second, and longer", 2],
  ]);
});

test("a fetch with --delete deletes nothing where something that was asked for is not there", { skip }, async (t) => {
  const { folder, rsync, ok } = await startServer(t);
  mkdirSync(path.join(folder, "original"));
  writeFileSync(path.join(folder, "original/file"), "file");
  await ok("-a", `${folder}/original/`, "SERVER:");
  for (const options of [["-a"], ["-a", "--protocol=30"], ["-a", "--protocol=29"]]) {
    const target = temporaryFolder(t);
    writeFileSync(path.join(target, "precious"), "precious");
    const fetch = [...options, "--delete", "SERVER:latest/"];
    const misspelt = await rsync(...fetch, "SERVER:latest/misspelt/", `${target}/`);
    assert.equal(misspelt.status, 23);
    assert.deepEqual(readdirSync(target), ["file", "precious"], options.join(" "));
    await ok(...fetch, `${target}/`);
    assert.deepEqual(readdirSync(target), ["file"], options.join(" "));
  }
});

test("--checksum and --ignore-times send what was changed behind the back of size and time", { skip }, async (t) => {
  const { holdfast, folder, ok } = await startServer(t);
  const original = path.join(folder, "original");
  mkdirSync(original);
  const put = (text: string): void => {
    writeFileSync(path.join(original, "file"), text);
    // Long ago, with a fraction of a second: then nothing makes the file look as if it were being changed just now.
    utimesSync(path.join(original, "file"), 1_600_000_000.5, 1_600_000_000.5);
  };
  writeFileSync(path.join(original, "other"), scrambledBytes("other", 3_000_000));
  put("one");
  linkSync(path.join(original, "file"), path.join(original, "linked"));
  await ok("-aH", `${original}/`, "SERVER:");
  assert.equal(await ok("-aHci", `${original}/`, "SERVER:"), "", "what is the same is not sent");
  for (const [options, text] of [
    ["-aHci", "two"],
    ["-aHcizi", "six"],
    ["-aHIi", "ten"],
  ] as const) {
    put(text);
    if (options === "-aHci")
      assert.equal(await ok("-aHi", `${original}/`, "SERVER:"), "", "without it looks unchanged");
    assert.match(await ok(`${options}n`, `${original}/`, "SERVER:"), /^<f\S+ file$/m);
    assert.match(await ok(options, `${original}/`, "SERVER:"), /^<f\S+ file$/m);
    for (const name of ["file", "linked"])
      assert.equal(await holdfast.ok(["dump", "latest", `/${name}`]), text, `${options} ${name}`);
  }
});

test("a file that is pushed alone gets the name of the destination, unless that is a folder", { skip }, async (t) => {
  const { holdfast, folder, ok } = await startServer(t);
  writeFileSync(path.join(folder, "file"), "file");
  writeFileSync(path.join(folder, "other"), "other");
  symlinkSync("file", path.join(folder, "link"));
  mkdirSync(path.join(folder, "folder"));
  const cases: [sources: string[], destination: string, saved: string[]][] = [
    [["file"], "renamed", ["/renamed"]],
    [["link"], "in/to/renamed", ["/in", "/in/to", "/in/to/renamed"]],
    [["file"], "in/", ["/in", "/in/file"]],
    [["file"], "in/.", ["/in", "/in/file"]],
    [["file"], "", ["/file"]],
    [["file", "other"], "in", ["/in", "/in/file", "/in/other"]],
    [["folder"], "in", ["/in", "/in/folder"]],
  ];
  for (const [sources, destination, saved] of cases) {
    const push = ["-a", ...sources.map((name) => path.join(folder, name)), `SERVER:${destination}`];
    await ok(...push);
    const listed = (await holdfast.ok(["ls", "latest"])).trimEnd().split("\n").slice(1);
    assert.deepEqual(listed, saved, destination);
    assert.equal(await ok("-i", ...push), "", "and is known by it the next time");
  }
});

test("--safe-links leaves out links that lead out of what is pushed", { skip }, async (t) => {
  const { folder, ok } = await startServer(t);
  const original = path.join(folder, "original");
  mkdirSync(path.join(original, "a/b"), { recursive: true });
  for (const [name, target] of [
    ["out", "../x"],
    ["full", "/etc"],
    ["in", "a/./b//."],
    ["through", "a/../a/b"],
    ["a/b/up", ".."],
    ["a/b/up and up", "../.."],
    ["a/b/in", "../../a"],
    ["a/b/out", "../../../a"],
    ["a/out", "b/../../../original/a"],
  ])
    symlinkSync(target, path.join(original, name));
  await ok("-a", "--safe-links", `${original}/`, "SERVER:");
  const expected = path.join(folder, "expected");
  await runOk("rsync", ["-a", "--safe-links", `${original}/`, expected]);
  await ok("-a", "SERVER:latest/", path.join(folder, "fetched"));
  await assertSameForRsync(expected, path.join(folder, "fetched"));
});

test(
  "finds what is fetched through links, dates, wildcards and names of any bytes, as a shell would",
  { skip },
  async (t) => {
    const { folder, rsync, ok, withShell } = await startServer(t);
    const original = path.join(folder, "original");
    mkdirSync(path.join(original, "usr/bin"), { recursive: true });
    mkdirSync(path.join(original, "var"));
    const latin1 = Buffer.from("caf\xe9", "latin1");
    writeFileSync(path.join(original, "usr/bin/ls"), "ls");
    writeFileSync(Buffer.concat([Buffer.from(`${original}/usr/`), latin1]), "café");
    writeFileSync(path.join(original, "usr/no\u00a0break"), "no break");
    symlinkSync("usr/bin", path.join(original, "bin"));
    symlinkSync("/usr", path.join(original, "var/full"));
    symlinkSync("../../../../usr", path.join(original, "var/above"));
    symlinkSync("loop", path.join(original, "loop"));
    await ok("-a", `${original}/`, "SERVER:");
    rmSync(path.join(original, "usr/bin/ls"));
    await ok("-a", `${original}/`, "SERVER:");
    const today = new Date().toISOString().slice(0, 10);
    const [first] = /\d{4}-\d\d-\d\dT\S+$/m.exec(await ok("SERVER:")) ?? [""];

    const cases: [from: string | Buffer, found: string[]][] = [
      [`${first}/bin/ls`, ["ls"]],
      [`${first}/bin/`, ["ls"]],
      [`${first}/bin`, ["bin"]],
      [`${first}/bin/*`, ["ls"]],
      [`${first}/var/full/bin/ls`, ["ls"]],
      [`${first}/var/above/bin/ls`, ["ls"]],
      [`${first}/usr/bin/../../bin/ls`, ["ls"]],
      [`${first}/../${first}/bin/ls`, ["ls"]],
      ["2*/bin/ls", ["ls"]],
      [`${today}/var/full`, ["full"]],
      ["~/latest/var/full", ["full"]],
      ["latest/usr/no\u00a0break", ["no\u00a0break"]],
      [Buffer.concat([Buffer.from("latest/usr/"), latin1]), ["caf\ufffd"]],
    ];
    for (const [from, found] of cases) {
      const target = temporaryFolder(t);
      if (typeof from === "string") {
        await ok("-a", `SERVER:${from}`, `${target}/`);
      } else {
        // A command's arguments are text for Node, and only a shell can give bytes.
        const octal = [...from].map((byte) => `\\0${byte.toString(8)}`).join("");
        const script = 'from=$(printf %b "$1") to=$2; shift 2; exec rsync "$@" "127.0.0.1:$from" "$to"';
        for (const option of ["-a", "-as"])
          await runOk("sh", ["-c", script, "sh", octal, `${target}/`, option, ...withShell]);
      }
      assert.deepEqual(readdirSync(target), found, String(from));
    }
    for (const from of ["latest/loop/", `${first}/usr/bin/ls/`, "latest/bin/ls", "2*/nothing"]) {
      const result = await rsync("-a", `SERVER:${from}`, `${folder}/nothing`);
      assert.equal(result.status, 23, from);
      assert.match(result.stderr, from.endsWith("/") ? /Not a directory/ : /No such file or directory/, from);
    }
  },
);

test("anything but rsync is refused at the door", { skip }, async (t) => {
  const server = await startSshServer(t);
  const holdfast = await newHoldfast(t);
  const forced = path.join(temporaryFolder(t), "forced");
  const words = [
    process.execPath,
    DOOR,
    holdfast.repository,
    "correct horse battery staple",
    temporaryFolder(t),
    "web1",
  ];
  writeFileSync(forced, `#!/bin/sh\nexec ${words.map((word) => `'${word}'`).join(" ")}\n`, { mode: 0o755 });
  server.restrictKey(`restrict,command="${forced}"`);
  for (const command of ["id", "sh -c id", "rsync --daemon", "rsync --server . $(id)", "rsync; id", "scp -t /"]) {
    const result = await run("ssh", [...server.clientOptions, "127.0.0.1", command]);
    assert.notEqual(result.status, 0, command);
    assert.equal(result.stdout, "", command);
    assert.match(result.stderr, /^holdfast: /m, command);
  }
});
