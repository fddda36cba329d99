import assert from "node:assert/strict";
import { chownSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { BEYOND_RSYNC, buildAwkwardTree, makeDeepPath } from "./awkward-tree.ts";
import { assertSameTree } from "./compare-trees.ts";
import { isRoot, skipUnless } from "./requirements.ts";
import { runOk } from "./run-command.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const TOOLS = ["rsync", "tar", "find", "getfattr", "setfattr", "setfacl", "lsattr", "chattr"];
const skip = skipUnless({ commands: isRoot ? [...TOOLS, "setcap", "mknod"] : TOOLS });

test("a copy by cp is the same tree, once the flags that cp leaves out are set", { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const original = path.join(folder, "original");
  mkdirSync(original);
  await buildAwkwardTree(original, { asRoot: isRoot });
  // cp cannot copy paths of this length.
  await runOk("rm", ["-r", path.join(original, "deep")]);
  await runOk("cp", ["-a", original, path.join(folder, "copy")]);
  const copy = path.join(folder, "copy");
  if (hasFlags(await runOk("lsattr", ["-d", `${original}/flags/no-dump`]))) {
    await assert.rejects(assertSameTree(original, copy, { beyondRsync: BEYOND_RSYNC }), /flags/);
    for (const [name, flag] of isRoot ? ALL_FLAGS : ALL_FLAGS.slice(0, 1)) {
      await runOk("chattr", [flag, path.join(copy, "flags", name)]);
    }
  }
  await assertSameTree(original, copy, { beyondRsync: BEYOND_RSYNC });
});

test("a difference at the end of a path of more than 4,096 bytes is found", { skip }, async (t) => {
  const folder = temporaryFolder(t);
  for (const name of ["original", "copy"]) {
    mkdirSync(path.join(folder, name, "deep"), { recursive: true });
    makeDeepPath(path.join(folder, name, "deep"));
    await setAllTimes(path.join(folder, name));
  }
  const original = path.join(folder, "original");
  const copy = path.join(folder, "copy");
  await assertSameTree(original, copy, { beyondRsync: BEYOND_RSYNC });
  await runOk("find", [copy, "-name", "file", "-execdir", "sh", "-c", "printf 'all the way up!!\\n' >file", ";"]);
  await setAllTimes(copy);
  await assert.rejects(assertSameTree(original, copy, { beyondRsync: BEYOND_RSYNC }), /hashOfTarArchive/);
});

const ALL_FLAGS = [
  ["no-dump", "+d"],
  ["immutable", "+i"],
  ["append-only", "+a"],
  ["immutable-folder", "+i"],
] as const;

function hasFlags(lsattrLine: string): boolean {
  return lsattrLine.split(" ")[0].includes("d");
}

interface Mutation {
  readonly name: string;
  readonly needsRoot?: boolean;
  readonly change: (folder: string) => unknown;
}

const MUTATIONS: readonly Mutation[] = [
  { name: "one byte of content", change: (folder) => overwriteKeepingTime(`${folder}/file`, "contenT\n") },
  { name: "a nanosecond of time", change: () => undefined },
  { name: "a mode bit", change: (folder) => runOk("chmod", ["g+s", `${folder}/file`]) },
  { name: "a missing name", change: (folder) => rmSync(`${folder}/inner/empty`) },
  { name: "an added name", change: (folder) => writeFileSync(`${folder}/inner/more`, "") },
  { name: "a hard link that is a copy", change: (folder) => runOk("sh", ["-c", BREAK_LINK, "sh", folder]) },
  { name: "a hard link that was none", change: (folder) => replaceByLink(folder) },
  { name: "a hole that was filled", change: (folder) => runOk("sh", ["-c", FILL_HOLE, "sh", folder]) },
  {
    name: "an attribute's value",
    change: (folder) => runOk("setfattr", ["-n", "user.a", "-v", "2", `${folder}/file`]),
  },
  { name: "an ACL entry", change: (folder) => runOk("setfacl", ["-m", "u:7:r", `${folder}/file`]) },
  { name: "a link's target", change: (folder) => runOk("sh", ["-c", RETARGET, "sh", folder]) },
  { name: "an owner", needsRoot: true, change: (folder) => chownSync(`${folder}/file`, 1, 2) },
];

const BREAK_LINK = 'cd "$1" && cp -p linked copy && mv copy linked';
const FILL_HOLE = 'cd "$1" && cp -p --sparse=never sparse copy && mv copy sparse';
const RETARGET = 'cd "$1" && ln -snf elsewhere link && touch -h -d @1 link';

for (const mutation of MUTATIONS) {
  const title = `${mutation.name} is a difference that is found`;
  test(title, { skip: skip || skipUnless({ root: mutation.needsRoot ?? false }) }, async (t) => {
    const folder = temporaryFolder(t);
    const original = path.join(folder, "original");
    const copy = path.join(folder, "copy");
    await buildPlainTree(original);
    await runOk("cp", ["-a", original, copy]);
    await assertSameTree(original, copy);
    await mutation.change(copy);
    // Else the changed time of a folder alone would tell.
    await setAllTimes(copy);
    if (mutation.name.startsWith("a nanosecond")) await runOk("touch", ["-d", "@1.000000001", `${copy}/inner/empty`]);
    await assert.rejects(assertSameTree(original, copy));
  });
}

async function buildPlainTree(folder: string): Promise<void> {
  mkdirSync(path.join(folder, "inner"), { recursive: true });
  writeFileSync(path.join(folder, "file"), "content\n");
  await runOk("setfattr", ["-n", "user.a", "-v", "1", path.join(folder, "file")]);
  writeFileSync(path.join(folder, "inner/empty"), "");
  writeFileSync(path.join(folder, "inner/empty-too"), "");
  writeFileSync(path.join(folder, "linked"), "linked\n");
  linkSync(path.join(folder, "linked"), path.join(folder, "inner/linked"));
  symlinkSync("somewhere", path.join(folder, "link"));
  await runOk("truncate", ["-s", "2M", path.join(folder, "sparse")]);
  await setAllTimes(folder);
}

async function setAllTimes(folder: string): Promise<void> {
  await runOk("sh", ["-c", 'find "$1" -depth -execdir touch -h -d @1 {} +', "sh", folder]);
}

function overwriteKeepingTime(file: string, content: string): void {
  assert.equal(readFileSync(file, "utf8").length, content.length);
  writeFileSync(file, content);
}

function replaceByLink(folder: string): void {
  linkSync(path.join(folder, "inner/empty"), path.join(folder, "new"));
  renameSync(path.join(folder, "new"), path.join(folder, "inner/empty-too"));
}
