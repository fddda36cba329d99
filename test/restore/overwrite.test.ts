import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { assertSameTree } from "../support/compare-trees.ts";
import { isRoot, skipUnless } from "../support/requirements.ts";
import { runOk } from "../support/run-command.ts";
import { type RestorePlace, restorePlace } from "./restore-place.ts";

const TOOLS = ["rsync", "tar", "find", "getfattr", "setfattr", "lsattr"];
const MEBIBYTE = 1024 * 1024;

/** The target itself was there before, and is not made a copy of the folder. */
function copyTime(from: string, to: string): void {
  execFileSync("touch", ["-r", from, to]);
}

/** A few files of different kinds, and where they are in the target. */
async function savedPlace(t: Parameters<typeof restorePlace>[0]): Promise<RestorePlace & { in(name: string): string }> {
  const place = await restorePlace(t);
  mkdirSync(path.join(place.source, "folder"));
  writeFileSync(path.join(place.source, "folder/a"), "content of a");
  writeFileSync(path.join(place.source, "b"), "content of b");
  writeFileSync(path.join(place.source, "large"), scrambledBytes("large", 20 * MEBIBYTE));
  symlinkSync("b", path.join(place.source, "link"));
  for (const name of ["folder/a", "b", "large"])
    utimesSync(path.join(place.source, name), 1_500_000_000, 1_500_000_000);
  await place.save();
  return { ...place, in: (name) => path.join(place.target, name) };
}

test(
  "always: what differs is put right, what does not is left alone",
  { skip: skipUnless({ commands: TOOLS }) },
  async (t) => {
    const place = await savedPlace(t);
    await place.restore();
    writeFileSync(place.in("folder/a"), "CONTENT OF A");
    utimesSync(place.in("folder/a"), 1_500_000_000, 1_500_000_000);
    chmodSync(place.in("b"), 0o600);
    rmSync(place.in("link"));
    symlinkSync("elsewhere", place.in("link"));
    const again = await place.restore();
    assert.deepEqual(again.actions, ["unchanged large", "updated b", "updated folder/a", "updated link"]);
    assert.deepEqual(again.told, []);
    copyTime(place.source, place.target);
    await assertSameTree(place.source, place.target);
  },
);

test("always: a large file is changed where it is, and only what differs in it is written", async (t) => {
  const place = await savedPlace(t);
  await place.restore();
  const before = statSync(place.in("large"));
  const altered = readFileSync(place.in("large"));
  altered.fill(0, 9 * MEBIBYTE, 9 * MEBIBYTE + 100);
  writeFileSync(place.in("large"), Buffer.concat([altered, Buffer.from("and more")]));
  const again = await place.restore();
  assert.deepEqual(again.told, []);
  assert.ok(again.actions.includes("updated large"));
  assert.ok(again.writtenBytes > 0 && again.writtenBytes <= 9 * MEBIBYTE, `${again.writtenBytes} bytes were written`);
  assert.equal(statSync(place.in("large")).ino, before.ino);
  assert.ok(readFileSync(place.in("large")).equals(readFileSync(path.join(place.source, "large"))));
  assert.equal(statSync(place.in("large")).mtimeMs, 1_500_000_000_000);
});

test("if-changed: a file of the same size and time is taken to be right", async (t) => {
  const place = await savedPlace(t);
  await place.restore();
  for (const name of ["folder/a", "large"]) {
    const wrong = readFileSync(place.in(name));
    wrong[0] ^= 1;
    writeFileSync(place.in(name), wrong);
  }
  utimesSync(place.in("folder/a"), 1_500_000_000, 1_500_000_000);
  const again = await place.restore({ overwrite: "if-changed" });
  assert.deepEqual(again.actions, ["unchanged b", "unchanged folder/a", "unchanged link", "updated large"]);
  assert.notEqual(readFileSync(place.in("folder/a"), "utf8"), "content of a");
  assert.ok(readFileSync(place.in("large")).equals(readFileSync(path.join(place.source, "large"))));
});

test("if-newer: only older files are overwritten", async (t) => {
  const place = await savedPlace(t);
  await place.restore();
  for (const [name, time] of [
    ["b", 1_600_000_000],
    ["folder/a", 1_400_000_000],
    ["large", 1_400_000_000],
  ] as const) {
    writeFileSync(place.in(name), "other");
    utimesSync(place.in(name), time, time);
  }
  rmSync(place.in("link"));
  const again = await place.restore({ overwrite: "if-newer" });
  assert.deepEqual(again.actions, ["restored link", "skipped b", "updated folder/a", "updated large"]);
  assert.equal(readFileSync(place.in("b"), "utf8"), "other");
  assert.equal(readFileSync(place.in("folder/a"), "utf8"), "content of a");
  assert.equal(statSync(place.in("large")).size, 20 * MEBIBYTE);
});

test("never: what is there stays, what is missing comes", async (t) => {
  const place = await savedPlace(t);
  mkdirSync(place.in("folder"), { recursive: true });
  writeFileSync(place.in("folder/a"), "mine");
  symlinkSync("mine", place.in("link"));
  writeFileSync(place.in("large"), "mine too");
  const result = await place.restore({ overwrite: "never" });
  assert.deepEqual(result.actions, ["restored b", "skipped folder/a", "skipped large", "skipped link"]);
  assert.equal(readFileSync(place.in("folder/a"), "utf8"), "mine");
  assert.equal(readFileSync(place.in("large"), "utf8"), "mine too");
  assert.equal(readlinkSync(place.in("link")), "mine");
  assert.equal(readFileSync(place.in("b"), "utf8"), "content of b");
});

test("never: a folder that is wanted where something else is, is told and left", async (t) => {
  const place = await savedPlace(t);
  mkdirSync(place.target);
  writeFileSync(place.in("folder"), "a file");
  const result = await place.restore({ overwrite: "never" });
  assert.match(result.told.join(), /^folder: a file is in the way/);
  assert.equal(readFileSync(place.in("folder"), "utf8"), "a file");
});

test("a file in the way of a folder goes, and an empty folder in the way of a file", async (t) => {
  const place = await savedPlace(t);
  mkdirSync(place.target);
  writeFileSync(place.in("folder"), "a file");
  for (const name of ["b", "large", "link"]) mkdirSync(place.in(name));
  const result = await place.restore();
  assert.deepEqual(result.told, []);
  assert.equal(readFileSync(place.in("folder/a"), "utf8"), "content of a");
  assert.ok(lstatSync(place.in("b")).isFile());
  assert.ok(lstatSync(place.in("large")).isFile());
  assert.ok(lstatSync(place.in("link")).isSymbolicLink());
});

test("a folder with something in it that is in the way of a file is told and left, and goes with delete", async (t) => {
  const place = await savedPlace(t);
  for (const name of ["b", "large", "link"]) {
    mkdirSync(place.in(name), { recursive: true });
    writeFileSync(path.join(place.in(name), "precious"), "x");
  }
  const kept = await place.restore();
  assert.deepEqual(kept.told.map((line) => line.split(":")[0]).toSorted(), ["b", "large", "link"]);
  assert.match(kept.told.join(), /ENOTEMPTY/);
  for (const name of ["b", "large", "link"]) assert.ok(existsSync(path.join(place.in(name), "precious")), name);
  const gone = await place.restore({ deleteExtra: true });
  assert.deepEqual(gone.told, []);
  assert.equal(readFileSync(place.in("b"), "utf8"), "content of b");
});

test("a file with another name outside of what is restored is replaced, not changed", async (t) => {
  const place = await savedPlace(t);
  mkdirSync(place.target);
  for (const name of ["b", "large"]) {
    const outside = `${place.target}-${name}`;
    writeFileSync(outside, `outside ${name}`);
    chmodSync(outside, 0o640);
    linkSync(outside, place.in(name));
  }
  assert.deepEqual((await place.restore()).told, []);
  assert.equal(readFileSync(place.in("b"), "utf8"), "content of b");
  for (const name of ["b", "large"]) {
    assert.equal(readFileSync(`${place.target}-${name}`, "utf8"), `outside ${name}`);
    assert.equal(statSync(`${place.target}-${name}`).mode & 0o777, 0o640);
    assert.equal(statSync(place.in(name)).nlink, 1);
  }
});

test("a file that is right but has another name outside gets an inode of its own", async (t) => {
  const place = await savedPlace(t);
  await place.restore();
  for (const name of ["b", "large"]) linkSync(place.in(name), `${place.target}-${name}`);
  assert.deepEqual((await place.restore()).told, []);
  for (const name of ["b", "large"]) {
    assert.equal(statSync(place.in(name)).nlink, 1);
    assert.equal(statSync(`${place.target}-${name}`).nlink, 1);
  }
});

test(
  "extended attributes that the snapshot does not have are removed",
  { skip: skipUnless({ commands: TOOLS }) },
  async (t) => {
    const place = await savedPlace(t);
    await place.restore();
    for (const name of ["b", "large", "folder", "."]) {
      await runOk("setfattr", ["-n", "user.extra", "-v", "1", place.in(name)]);
    }
    const again = await place.restore();
    assert.deepEqual(again.actions, ["unchanged folder/a", "unchanged link", "updated b", "updated large"]);
    await runOk("setfattr", ["-x", "user.extra", place.target]);
    await assertSameTree(place.source, place.target);
  },
);

test("hard links come back as they were from any mixture", { skip: skipUnless({ commands: TOOLS }) }, async (t) => {
  const place = await restorePlace(t);
  const at = (name: string): string => path.join(place.source, name);
  const inTarget = (name: string): string => path.join(place.target, name);
  mkdirSync(at("z"));
  // Two groups of equal content and attributes, and one of a large file.
  for (const [first, ...others] of [
    ["a1", "a2", "z/a3"],
    ["b1", "b2"],
    ["large1", "z/large2"],
  ]) {
    writeFileSync(at(first), first.startsWith("large") ? scrambledBytes("links", 12 * MEBIBYTE) : "the same");
    utimesSync(at(first), 1_500_000_000, 1_500_000_000);
    for (const other of others) linkSync(at(first), at(other));
  }
  symlinkSync("a1", at("s1"));
  linkSync(at("s1"), at("z/s2"));
  await place.save();
  assert.deepEqual((await place.restore()).told, []);
  await assertSameTree(place.source, place.target);

  const unchanged = await place.restore();
  assert.ok(
    unchanged.actions.every((action) => action.startsWith("unchanged ")),
    unchanged.actions.join(),
  );
  assert.equal(unchanged.writtenBytes, 0);

  // A link that is a file of its own, groups that are one, and content that is wrong under all its names.
  rmSync(inTarget("a2"));
  writeFileSync(inTarget("a2"), "the same");
  rmSync(inTarget("b1"));
  rmSync(inTarget("b2"));
  linkSync(inTarget("a1"), inTarget("b1"));
  linkSync(inTarget("a1"), inTarget("b2"));
  writeFileSync(inTarget("large1"), "wrong");
  assert.deepEqual((await place.restore()).told, []);
  copyTime(place.source, place.target);
  await assertSameTree(place.source, place.target);
});

test("never: the name of a hard link that is not there gets the snapshot's content, not that of its neighbour", async (t) => {
  const place = await restorePlace(t);
  writeFileSync(path.join(place.source, "first"), "from the snapshot");
  linkSync(path.join(place.source, "first"), path.join(place.source, "second"));
  linkSync(path.join(place.source, "first"), path.join(place.source, "third"));
  await place.save();
  mkdirSync(place.target);
  writeFileSync(path.join(place.target, "first"), "mine");
  await place.restore({ overwrite: "never" });
  assert.equal(readFileSync(path.join(place.target, "first"), "utf8"), "mine");
  assert.equal(readFileSync(path.join(place.target, "second"), "utf8"), "from the snapshot");
  assert.equal(statSync(path.join(place.target, "second")).ino, statSync(path.join(place.target, "third")).ino);
});

test(
  "files and folders that are immutable are put right all the same",
  { skip: skipUnless({ root: true, commands: ["chattr", "lsattr", "rsync", "getfattr"] }) },
  async (t) => {
    const place = await restorePlace(t);
    mkdirSync(path.join(place.source, "folder"));
    writeFileSync(path.join(place.source, "folder/file"), "content");
    writeFileSync(path.join(place.source, "linked"), "content");
    linkSync(path.join(place.source, "linked"), path.join(place.source, "linked-again"));
    await runOk("chattr", [
      "+i",
      path.join(place.source, "folder/file"),
      path.join(place.source, "folder"),
      path.join(place.source, "linked"),
    ]);
    await place.save();
    assert.deepEqual((await place.restore()).told, []);
    await assertSameTree(place.source, place.target);
    const inTarget = path.join(place.target, "folder/file");
    await runOk("chattr", ["-i", path.join(place.target, "folder"), inTarget]);
    writeFileSync(inTarget, "wrong");
    await runOk("chattr", ["+i", inTarget, path.join(place.target, "folder")]);
    assert.deepEqual((await place.restore()).told, []);
    await assertSameTree(place.source, place.target);
    const again = await place.restore();
    assert.deepEqual(again.told, []);
    assert.equal(again.updated + again.restored, 0);
  },
);

test("what a killed run left under a temporary name is used up, and a link planted there leads nowhere", async (t) => {
  const place = await savedPlace(t);
  const { temporaryName } = await import("../../src/restore/temporary-name.ts");
  const { rawPathFromText } = await import("../../src/platform/raw-path.ts");
  mkdirSync(place.target);
  writeFileSync(`${place.target}-outside`, "outside");
  symlinkSync(`${place.target}-outside`, place.in(temporaryName(rawPathFromText("b"))));
  writeFileSync(place.in(temporaryName(rawPathFromText("large"))), "half of it");
  const result = await place.restore({ overwrite: "never" });
  assert.deepEqual(result.told, []);
  assert.equal(readFileSync(`${place.target}-outside`, "utf8"), "outside");
  assert.equal(readFileSync(place.in("b"), "utf8"), "content of b");
  assert.deepEqual(await runOk("ls", ["-A", place.target]), "b\nfolder\nlarge\nlink\n");
});

test(
  "a target folder whose owner may not write to it is made ready, and gets its mode again",
  { skip: isRoot && "root may write everywhere" },
  async (t) => {
    const place = await savedPlace(t);
    chmodSync(path.join(place.source, "folder"), 0o555);
    await place.save();
    await place.restore();
    rmSync(place.in("b"));
    assert.deepEqual((await place.restore()).told, []);
    assert.equal(statSync(place.in("folder")).mode & 0o777, 0o555);
  },
);
