import assert from "node:assert/strict";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { openSnapshotView } from "../../src/browse/open-snapshot-view.ts";
import { createBlobStore, madeUpFile, madeUpFolder } from "../../src/browse/testing/memory-snapshot.ts";
import { encodeEntry, encodeLeaf, type DirectoryEntry } from "../../src/format/tree.ts";
import type { RawPath } from "../../src/platform/raw-path.ts";
import { openFrameReader } from "../../src/repository/frame-reader.ts";
import { restoreSnapshot } from "../../src/restore/restore.ts";
import { memoryStorage } from "../../src/storage/memory.ts";
import { atEnd } from "../support/at-end.ts";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { newRepository } from "../support/library-repository.ts";
import { skipUnless } from "../support/requirements.ts";
import { runOk } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { restorePlace } from "./restore-place.ts";

const LARGE_BYTES = 10 * 1024 * 1024;

async function placeWithOutside(t: Parameters<typeof restorePlace>[0]) {
  const place = await restorePlace(t);
  const outside = `${place.target}-outside`;
  mkdirSync(outside);
  mkdirSync(place.target);
  mkdirSync(path.join(place.source, "folder/inner"), { recursive: true });
  writeFileSync(path.join(place.source, "folder/inner/file"), "from the snapshot");
  writeFileSync(path.join(place.source, "folder/large"), scrambledBytes("large", LARGE_BYTES));
  writeFileSync(path.join(place.source, "file"), "from the snapshot");
  symlinkSync("file", path.join(place.source, "link"));
  await place.save();
  return { ...place, outside, in: (name: string) => path.join(place.target, name) };
}

for (const overwrite of ["always", "if-changed"] as const) {
  test(`${overwrite}: links planted where folders and files should be are replaced, and nothing goes through them`, async (t) => {
    const place = await placeWithOutside(t);
    symlinkSync(place.outside, place.in("folder"));
    writeFileSync(path.join(place.outside, "precious"), "precious");
    symlinkSync(path.join(place.outside, "precious"), place.in("file"));
    symlinkSync(place.outside, place.in("link"));
    const result = await place.restore({ overwrite });
    assert.deepEqual(result.told, []);
    assert.ok(lstatSync(place.in("folder")).isDirectory());
    assert.ok(lstatSync(place.in("file")).isFile());
    assert.equal(readlinkSync(place.in("link")), "file");
    assert.deepEqual(readdirSync(place.outside), ["precious"]);
    assert.equal(readFileSync(path.join(place.outside, "precious"), "utf8"), "precious");
  });
}

test("never: a link planted where a folder should be is told, and nothing goes through it", async (t) => {
  const place = await placeWithOutside(t);
  symlinkSync(place.outside, place.in("folder"));
  const result = await place.restore({ overwrite: "never" });
  assert.match(result.told.join(), /^folder: a symlink is in the way/);
  assert.deepEqual(readdirSync(place.outside), []);
  assert.equal(readFileSync(place.in("file"), "utf8"), "from the snapshot");
});

test("links planted deeper, and dangling ones that a write would create the target of, lead nowhere", async (t) => {
  const place = await placeWithOutside(t);
  mkdirSync(place.in("folder"));
  symlinkSync(place.outside, place.in("folder/inner"));
  symlinkSync(path.join(place.outside, "made-by-restore"), place.in("file"));
  symlinkSync(path.join(place.outside, "made-by-restore"), place.in("folder/large"));
  const result = await place.restore();
  assert.deepEqual(result.told, []);
  assert.deepEqual(readdirSync(place.outside), []);
  assert.equal(readFileSync(place.in("folder/inner/file"), "utf8"), "from the snapshot");
  assert.equal(statSync(place.in("folder/large")).size, LARGE_BYTES);
});

test("delete removes links and not what they lead to", async (t) => {
  const place = await placeWithOutside(t);
  writeFileSync(path.join(place.outside, "precious"), "precious");
  await place.restore();
  symlinkSync(place.outside, place.in("extra"));
  mkdirSync(place.in("folder/extra"));
  symlinkSync(place.outside, place.in("folder/extra/deeper"));
  const result = await place.restore({ deleteExtra: true });
  assert.deepEqual(result.told, []);
  assert.equal(result.deleted, 3);
  assert.ok(!existsSync(place.in("folder/extra")));
  assert.deepEqual(readdirSync(place.outside), ["precious"]);
});

test("the target itself may be a link: the user has named it", async (t) => {
  const place = await placeWithOutside(t);
  const target = `${place.target}-link`;
  symlinkSync(place.outside, target);
  assert.deepEqual((await place.restore({ target })).told, []);
  assert.equal(readFileSync(path.join(place.outside, "file"), "utf8"), "from the snapshot");
});

test(
  "delete does not go into another file system that is mounted in the target",
  { skip: skipUnless({ root: true, commands: ["mount"] }) },
  async (t) => {
    const place = await placeWithOutside(t);
    await place.restore();
    for (const name of ["extra", "folder/extra"]) {
      mkdirSync(path.join(place.in(name), "mounted"), { recursive: true });
      await runOk("mount", ["-t", "tmpfs", "none", path.join(place.in(name), "mounted")]);
      atEnd(t, async () => {
        await runOk("umount", [path.join(place.in(name), "mounted")]);
      });
      writeFileSync(path.join(place.in(name), "mounted/precious"), "precious");
    }
    const result = await place.restore({ deleteExtra: true });
    assert.equal(result.told.length, 2);
    assert.match(result.told.join(), /another file system is mounted/);
    for (const name of ["extra", "folder/extra"]) assert.ok(existsSync(path.join(place.in(name), "mounted/precious")));
  },
);

const HOSTILE_NAMES = ["..", ".", "a/b", "/etc", "../../escape", "nul\0byte", ""];

for (const name of HOSTILE_NAMES) {
  test(`a tree with the name ${JSON.stringify(name)} in it is refused, and the rest is restored`, async (t) => {
    const target = path.join(temporaryFolder(t), "target");
    const repository = await newRepository(memoryStorage());
    const store = createBlobStore();
    // Entries as an honest writer makes them, with the name put in afterwards.
    const honest = encodeEntry(madeUpFile("")(store, "X".repeat(name.length || 1) as RawPath));
    const hostile = withName(honest, name);
    const folderOf = (folderName: string, entries: readonly Buffer[]): DirectoryEntry => {
      const empty = madeUpFolder({})(store, folderName as RawPath) as DirectoryEntry;
      return { ...empty, tree: store.put(encodeLeaf(entries)) };
    };
    const good = folderOf("good", [encodeEntry(madeUpFile("")(store, "file" as RawPath))]);
    const top = folderOf("", [encodeEntry(folderOf("broken", [hostile])), encodeEntry(good)]);
    const told: string[] = [];
    const reader = { ...(await openFrameReader(repository)), ...store };
    await restoreSnapshot({
      repository,
      reader,
      view: openSnapshotView(reader, top),
      target,
      onProblem: ({ path: where, error }) => told.push(`${where}: ${String(error)}`),
    });
    assert.equal(told.length, 1);
    assert.match(told[0], /^broken: DamagedError: /);
    assert.deepEqual(readdirSync(target), ["broken", "good"]);
    assert.deepEqual(readdirSync(path.join(target, "good")), ["file"]);
    assert.deepEqual(readdirSync(path.join(target, "broken")), []);
    assert.deepEqual(readdirSync(path.dirname(target)), ["target"]);
  });
}

/** An encoded entry whose name, made of X, is another of the same length; an empty one is made by cutting it out. */
function withName(encoded: Buffer, name: string): Buffer {
  if (name !== "") {
    const bytes = Buffer.from(encoded);
    bytes.latin1Write(name, bytes.indexOf("X".repeat(name.length)));
    return bytes;
  }
  const at = encoded.indexOf("X");
  const bytes = Buffer.concat([encoded.subarray(0, at - 1), Buffer.from([0]), encoded.subarray(at + 1)]);
  bytes[0]--;
  return bytes;
}
