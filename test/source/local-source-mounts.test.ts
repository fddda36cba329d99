import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { INODE_FLAGS } from "../../src/platform/file-stat.ts";
import { closeFd, OPEN, openPath } from "../../src/platform/open.ts";
import { rawPathFromText } from "../../src/platform/raw-path.ts";
import { setInodeFlags } from "../../src/platform/set-attributes.ts";
import type { SourceEntry } from "../../src/source/source.ts";
import { type LocalSourceOptions, openLocalSource } from "../../src/source/local/local-source.ts";
import { atEnd } from "../support/at-end.ts";
import { mountFileSystem } from "../support/file-system-image.ts";
import { skipUnless } from "../support/requirements.ts";
import { runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

async function walk(
  t: TestContext,
  paths: readonly string[],
  options: Omit<LocalSourceOptions, "paths" | "onProblem">,
): Promise<SourceEntry[]> {
  const source = openLocalSource({
    ...options,
    paths: paths.map(rawPathFromText),
    onProblem: (problem) => assert.fail(String(problem.error)),
  });
  atEnd(t, () => source.close());
  const entries: SourceEntry[] = [];
  for await (const batch of source.entries()) entries.push(...batch);
  return entries;
}

function below(folder: string, entries: readonly SourceEntry[]): string[] {
  const prefix = `${folder.slice(1)}/`;
  return entries.filter((entry) => entry.path.startsWith(prefix)).map((entry) => entry.path.slice(prefix.length));
}

async function mount(t: TestContext, folder: string, ...options: readonly string[]): Promise<void> {
  await runOk("mount", [...options, folder]);
  atEnd(t, async () => void (await runOk("umount", [folder])));
}

const skip = skipUnless({ root: true, commands: ["mount", "umount"] });

describe("staying on one file system", { skip }, () => {
  /** `folder/mounted` is another file system, with `inner` a third one in it. */
  async function prepare(t: TestContext): Promise<string> {
    const folder = temporaryFolder(t);
    mkdirSync(path.join(folder, "mounted"));
    writeFileSync(path.join(folder, "file"), "");
    writeFileSync(path.join(folder, "zuletzt"), "");
    await mount(t, path.join(folder, "mounted"), "-t", "tmpfs", "none");
    mkdirSync(path.join(folder, "mounted/deep/inner"), { recursive: true });
    writeFileSync(path.join(folder, "mounted/x"), "");
    await mount(t, path.join(folder, "mounted/deep/inner"), "-t", "tmpfs", "none");
    writeFileSync(path.join(folder, "mounted/deep/inner/y"), "");
    return folder;
  }
  const everything = ["file", "mounted", "mounted/deep", "mounted/deep/inner", "mounted/deep/inner/y", "mounted/x"];

  it("is not done unless asked for", async (t) => {
    const folder = await prepare(t);
    assert.deepEqual(below(folder, await walk(t, [folder], {})), [...everything, "zuletzt"]);
  });

  it("saves mount points as empty folders", async (t) => {
    const folder = await prepare(t);
    const entries = await walk(t, [folder], { oneFileSystem: true });
    assert.deepEqual(below(folder, entries), ["file", "mounted", "zuletzt"]);
  });

  it("holds for each place named by itself, also for those within others", async (t) => {
    const folder = await prepare(t);
    const mounted = path.join(folder, "mounted");
    const inner = path.join(folder, "mounted/deep/inner");
    assert.deepEqual(below(folder, await walk(t, [folder, mounted], { oneFileSystem: true })), [
      "file",
      "mounted",
      "mounted/deep",
      "mounted/deep/inner",
      "mounted/x",
      "zuletzt",
    ]);
    assert.deepEqual(below(folder, await walk(t, [folder, inner], { oneFileSystem: true })), [
      "file",
      "mounted",
      "mounted/deep",
      "mounted/deep/inner",
      "mounted/deep/inner/y",
      "zuletzt",
    ]);
  });

  it("saves files that are mounted on files, as rsync does", async (t) => {
    const folder = await prepare(t);
    await mount(t, path.join(folder, "file"), "--bind", path.join(folder, "mounted/x"));
    assert.deepEqual(below(folder, await walk(t, [folder], { oneFileSystem: true })), ["file", "mounted", "zuletzt"]);
  });
});

describe("a bind mount of a folder into itself", { skip }, () => {
  it("is walked once a place, and ends", async (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(path.join(folder, "a/b"), { recursive: true });
    writeFileSync(path.join(folder, "a/x"), "");
    await mount(t, path.join(folder, "a/b"), "--bind", path.join(folder, "a"));
    assert.deepEqual(below(folder, await walk(t, [folder], {})), ["a", "a/b", "a/b/b", "a/b/x", "a/x"]);
  });
});

describe("an ext4 file system", { skip: skip || skipUnless({ commands: ["mkfs.ext4"] }) }, () => {
  it("shows immutable, append-only and no-dump files and folders as such", async (t) => {
    const folder = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 16 });
    const flags = { "0": 0, a: INODE_FLAGS.appendOnly, d: INODE_FLAGS.noDump, i: INODE_FLAGS.immutable };
    symlinkSync("a", path.join(folder, "link"));
    for (const [name, flag] of Object.entries(flags)) {
      mkdirSync(path.join(folder, `folder-${name}`));
      writeFileSync(path.join(folder, `file-${name}`), "");
      for (const kind of ["file", "folder"]) {
        const fd = openPath(rawPathFromText(path.join(folder, `${kind}-${name}`)), OPEN.READ);
        setInodeFlags(fd, flag);
        atEnd(t, () => {
          setInodeFlags(fd, 0);
          closeFd(fd);
        });
      }
    }
    const entries = await walk(t, [folder], {});
    const found = entries.filter(({ name }) => /^(?:file|folder)-/.test(name));
    assert.deepEqual(
      found.map(({ name, stat }) => [name, stat.inodeFlags]),
      ["file", "folder"].flatMap((kind) => Object.entries(flags).map(([name, flag]) => [`${kind}-${name}`, flag])),
    );
  });
});
