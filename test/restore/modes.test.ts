import assert from "node:assert/strict";
import {
  existsSync,
  ftruncateSync,
  closeSync,
  openSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  utimesSync,
  writeFileSync,
  chmodSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { InterruptedError, StorageError, UsageError } from "../../src/errors.ts";
import { createRestoreProgress } from "../../src/restore/restore.ts";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { atEnd } from "../support/at-end.ts";
import { assertSameTree } from "../support/compare-trees.ts";
import { skipUnless } from "../support/requirements.ts";
import { run, runOk } from "../support/run-command.ts";
import { restorePlace } from "./restore-place.ts";

const TOOLS = ["rsync", "tar", "find", "getfattr", "setfacl", "lsattr"];
const MEBIBYTE = 1024 * 1024;

async function savedPlace(t: Parameters<typeof restorePlace>[0]) {
  const place = await restorePlace(t);
  mkdirSync(path.join(place.source, "home/ann/src"), { recursive: true });
  mkdirSync(path.join(place.source, "home/bob"), { recursive: true });
  for (const name of ["home/ann/notes.txt", "home/ann/src/main.c", "home/bob/notes.txt", "top.c"]) {
    writeFileSync(path.join(place.source, name), name);
  }
  writeFileSync(path.join(place.source, "large"), scrambledBytes("large", 9 * MEBIBYTE));
  chmodSync(path.join(place.source, "home/ann"), 0o750);
  utimesSync(path.join(place.source, "home/ann"), 1_400_000_000, 1_400_000_000);
  await place.save();
  return { ...place, in: (name: string) => path.join(place.target, name) };
}

function listed(folder: string): string[] {
  return (readdirSync(folder, { recursive: true }) as string[]).toSorted();
}

const SELECTIONS: readonly (readonly [
  patterns: Parameters<Awaited<ReturnType<typeof savedPlace>>["restore"]>[0],
  expected: string[],
])[] = [
  [
    { patterns: { include: ["/home/ann"] } },
    ["home", "home/ann", "home/ann/notes.txt", "home/ann/src", "home/ann/src/main.c"],
  ],
  [{ patterns: { include: ["*.c"] } }, ["home", "home/ann", "home/ann/src", "home/ann/src/main.c", "top.c"]],
  [
    { patterns: { includeIgnoringCase: ["NOTES.*"] } },
    ["home", "home/ann", "home/ann/notes.txt", "home/bob", "home/bob/notes.txt"],
  ],
  [{ patterns: { include: ["ann/src"] } }, ["home", "home/ann", "home/ann/src", "home/ann/src/main.c"]],
  [{ patterns: { include: ["/home/*/notes.txt", "!/home/bob/*"] } }, ["home", "home/ann", "home/ann/notes.txt"]],
  [{ patterns: { include: ["nothing"] } }, []],
  [{ patterns: { exclude: ["/home", "large"] } }, ["top.c"]],
  [
    { patterns: { exclude: ["*.c", "!main.c", "large", "bob"] } },
    ["home", "home/ann", "home/ann/notes.txt", "home/ann/src", "home/ann/src/main.c"],
  ],
  [{ patterns: { excludeIgnoringCase: ["HOME", "LARGE"] } }, ["top.c"]],
];

for (const [options, expected] of SELECTIONS) {
  test(`restore of ${JSON.stringify(options?.patterns)}`, async (t) => {
    const place = await savedPlace(t);
    const result = await place.restore(options);
    assert.deepEqual(result.told, []);
    assert.deepEqual(listed(place.target), expected);
  });
}

test("folders on the way to what is included get their attributes", async (t) => {
  const place = await savedPlace(t);
  await place.restore({ patterns: { include: ["main.c"] } });
  assert.equal(statSync(place.in("home/ann")).mode & 0o777, 0o750);
  assert.equal(statSync(place.in("home/ann")).mtimeMs, 1_400_000_000_000);
});

test("include and exclude patterns together are refused", async (t) => {
  const place = await savedPlace(t);
  await assert.rejects(place.restore({ patterns: { include: ["a"], exclude: ["b"] } }), UsageError);
});

test("a dry run tells what a real one would do, and writes nothing", async (t) => {
  const place = await savedPlace(t);
  const first = await place.restore({ dryRun: true });
  assert.ok(!existsSync(place.target));
  const real = await place.restore();
  assert.deepEqual(first.actions, real.actions);
  assert.equal(first.bytes, real.bytes);
  assert.equal(first.directories, real.directories);
  assert.equal(first.writtenBytes, 0);

  writeFileSync(place.in("top.c"), "TOP.C");
  writeFileSync(place.in("home/bob/notes.txt"), "longer than before");
  const large = readFileSync(place.in("large"));
  large[5 * MEBIBYTE] ^= 1;
  writeFileSync(place.in("large"), large);
  const again = await place.restore({ dryRun: true });
  assert.deepEqual(again.actions, [
    "unchanged home/ann/notes.txt",
    "unchanged home/ann/src/main.c",
    "updated home/bob/notes.txt",
    "updated large",
    "updated top.c",
  ]);
  assert.equal(readFileSync(place.in("top.c"), "utf8"), "TOP.C");
  assert.ok(readFileSync(place.in("large")).equals(large));
  assert.deepEqual((await place.restore()).actions, again.actions);
});

test("a dry run and verify exclude each other", async (t) => {
  const place = await savedPlace(t);
  await assert.rejects(place.restore({ dryRun: true, verify: true }), UsageError);
});

test("with sparse, long runs of zeros become holes, and content stays the same", async (t) => {
  const place = await restorePlace(t);
  const zeros = Buffer.alloc(3 * MEBIBYTE);
  const small = Buffer.concat([Buffer.from("start"), zeros, Buffer.from("end")]);
  const large = Buffer.concat([zeros, scrambledBytes("middle", MEBIBYTE + 123), zeros, zeros, zeros]);
  writeFileSync(path.join(place.source, "small"), small);
  writeFileSync(path.join(place.source, "large"), large);
  writeFileSync(path.join(place.source, "all-zeros"), zeros);
  await place.save();
  const dense = await place.restore();
  assert.equal(dense.writtenBytes, small.length + large.length + zeros.length);
  const target = `${place.target}-sparse`;
  const sparse = await place.restore({ sparse: true, target, verify: true });
  assert.deepEqual(sparse.told, []);
  assert.ok(sparse.writtenBytes < 1.2 * MEBIBYTE);
  for (const [name, content] of [
    ["small", small],
    ["large", large],
    ["all-zeros", zeros],
  ] as const) {
    assert.ok(readFileSync(path.join(target, name)).equals(content), name);
    const { blocks, size } = statSync(path.join(target, name));
    assert.ok(blocks * 512 <= size - 2 * MEBIBYTE, `${name} takes ${blocks} blocks`);
  }
});

test("holes come back in a file that is there without them", async (t) => {
  const place = await restorePlace(t);
  for (const name of ["small", "large"]) {
    const fd = openSync(path.join(place.source, name), "w");
    writeFileSync(fd, name === "large" ? scrambledBytes("data", 9 * MEBIBYTE) : "data");
    ftruncateSync(fd, 30 * MEBIBYTE);
    closeSync(fd);
  }
  await place.save();
  mkdirSync(place.target);
  for (const name of ["small", "large"])
    writeFileSync(path.join(place.target, name), scrambledBytes("other", 30 * MEBIBYTE));
  assert.deepEqual((await place.restore()).told, []);
  for (const [name, most] of [
    ["small", 0.1],
    ["large", 9.1],
  ] as const) {
    const restored = path.join(place.target, name);
    assert.ok(readFileSync(restored).equals(readFileSync(path.join(place.source, name))), name);
    assert.ok(statSync(restored).blocks * 512 <= most * MEBIBYTE, name);
  }
  const again = await place.restore();
  assert.equal(again.unchanged, 2);
});

test(
  "what is made in a target that hands down an ACL does not inherit it",
  { skip: skipUnless({ commands: TOOLS }) },
  async (t) => {
    const place = await savedPlace(t);
    mkdirSync(place.target);
    await runOk("setfacl", ["-m", "u:12345:rwx,d:u:12345:rwx,d:g:54321:rx", place.target]);
    await runOk("mkfifo", [path.join(place.source, "fifo")]);
    await place.save();
    assert.deepEqual((await place.restore()).told, []);
    const { stdout } = await run("getfacl", ["-R", "-s", "."], { cwd: place.target });
    // Only the target itself has more than its mode.
    assert.equal(stdout.match(/^# file: /gm)?.length, 1, stdout);
    assert.match(stdout, /^# file: \.$/m);
  },
);

test("a target that is a file, or below one, is refused", async (t) => {
  const place = await savedPlace(t);
  writeFileSync(place.target, "");
  await assert.rejects(place.restore(), UsageError);
  await assert.rejects(place.restore({ target: path.join(place.target, "below") }), UsageError);
});

test("a read-only target is told in one line", { skip: skipUnless({ root: true, commands: ["mount"] }) }, async (t) => {
  const place = await savedPlace(t);
  mkdirSync(place.target);
  await runOk("mount", ["-t", "tmpfs", "-o", "ro", "none", place.target]);
  atEnd(t, async () => {
    await runOk("umount", [place.target]);
  });
  await assert.rejects(place.restore(), (error) => error instanceof StorageError && /read-only/.test(error.message));
});

test(
  "a full target stops the restore, which goes on when there is room",
  { skip: skipUnless({ root: true, commands: ["mount", ...TOOLS] }) },
  async (t) => {
    const place = await savedPlace(t);
    mkdirSync(place.target);
    await runOk("mount", ["-t", "tmpfs", "-o", "size=4m", "none", place.target]);
    atEnd(t, async () => {
      await runOk("umount", [place.target]);
    });
    for (let attempt = 0; attempt < 2; attempt++) {
      await assert.rejects(place.restore(), (error) => error instanceof StorageError && /is full/.test(error.message));
    }
    assert.ok(!existsSync(place.in("large")), "half a file was left");
    await runOk("mount", ["-o", "remount,size=40m", place.target]);
    assert.deepEqual((await place.restore()).told, []);
    await runOk("touch", ["-r", place.source, place.target]);
    chmodSync(place.target, statSync(place.source).mode & 0o7777);
    await assertSameTree(place.source, place.target);
  },
);

test("a restore that is stopped ends soon, and goes on when run again", async (t) => {
  const place = await restorePlace(t);
  for (let file = 0; file < 9000; file++) writeFileSync(path.join(place.source, `f${file}`), `content ${file}`);
  await place.save();
  const controller = new AbortController();
  const progress = createRestoreProgress();
  const stopped = place.restore({
    signal: controller.signal,
    progress,
    onEntry: () => {
      if (progress.files === 100) controller.abort();
    },
  });
  await assert.rejects(stopped, InterruptedError);
  assert.ok(readdirSync(place.target).length < 9000);
  const again = await place.restore();
  assert.equal(again.restored + again.unchanged, 9000);
  assert.ok(again.unchanged >= 100);
  assert.equal(readFileSync(path.join(place.target, "f8999"), "utf8"), "content 8999");
});
