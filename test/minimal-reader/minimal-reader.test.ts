import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { generateIdentity, identityToRecipient } from "age-encryption";
import type { Entry, Repository } from "./minimal-reader.ts";
import { extract, openKeys, openRepository, readContent, readSnapshot, readTree } from "./minimal-reader.ts";

const HOLDFAST = join(import.meta.dirname, "../../bin/holdfast");
const PASSWORD = "a reader's password";

const work = mkdtempSync(join(tmpdir(), "holdfast-minimal-reader-"));
after(() => rmSync(work, { recursive: true }));
const source = join(work, "source");
const folder = join(work, "repository");
let snapshotId = "";
/** Not every file system below the folder for temporary files can. */
let hasXattrs = false;

function holdfast(...args: string[]): string {
  return execFileSync(HOLDFAST, ["-r", folder, ...args], {
    env: { ...process.env, HOLDFAST_PASSWORD: PASSWORD, HOLDFAST_CACHE_DIR: join(work, "cache") },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** A path below the source, by the bytes of its name. */
function at(name: string): Buffer {
  return Buffer.concat([Buffer.from(`${source}/`), Buffer.from(name, "latin1")]);
}

function makeSource(): void {
  mkdirSync(at("folder/inner"), { recursive: true });
  writeFileSync(at("plain"), "plain content\n");
  writeFileSync(at("empty"), "");
  writeFileSync(at("\xff\xfe not UTF-8\n"), "content of an odd name");
  writeFileSync(at("x".repeat(255)), "longest name");
  writeFileSync(
    at("large"),
    Buffer.concat([randomBytes(5_000_000), Buffer.alloc(4_000_000, "text "), randomBytes(99)]),
  );
  writeFileSync(at("folder/inner/same"), "plain content\n");
  linkSync(at("plain"), at("folder/linked"));
  symlinkSync(Buffer.from("../\xe9/nowhere", "latin1"), at("folder/symlink"));
  chmodSync(at("plain"), 0o4751);
  chmodSync(at("folder/inner"), 0o1777);
  const sparse = openSync(at("sparse"), "w");
  writeSync(sparse, "start of the data", 2 ** 20);
  writeSync(sparse, randomBytes(1_500_000), 0, 1_500_000, 3 * 2 ** 20);
  ftruncateSync(sparse, 2 ** 23);
  closeSync(sparse);
  execFileSync("mkfifo", [at("fifo").toString()]);
  mkdirSync(at("many"));
  for (let index = 0; index < 9000; index++) writeFileSync(at(`many/${index}`), index % 10 === 0 ? String(index) : "");
  lutimesSync(at("empty"), 0, -1234.5);
  hasXattrs = spawnSync("setfattr", ["-n", "user.note", "-v", "the value", at("plain").toString()]).status === 0;
}

before(() => {
  makeSource();
  holdfast("init");
  holdfast("backup", source);
  [snapshotId] = readdirSync(join(folder, "snapshots"));
});

/** The entry at a path of the snapshot, from its root on. */
function entryAt(repository: Repository, root: Entry, path: string): Entry {
  let entry = root;
  for (const part of path.split("/").filter((name) => name !== "")) {
    const found = [...readTree(repository, entry.tree!)].find(({ name }) => name.toString() === part);
    assert.ok(found, `${part} of ${path}`);
    entry = found;
  }
  return entry;
}

/** Fails unless what the repository holds is what lies in the folder: names, attributes, content. Counts the entries. */
function compareFolder(repository: Repository, directory: Entry, path: Buffer): number {
  const entries = [...readTree(repository, directory.tree!)];
  const names = readdirSync(path, { encoding: "buffer" }).sort((a, b) => Buffer.compare(a, b));
  assert.deepEqual(
    entries.map(({ name }) => name),
    names,
  );
  let count = entries.length;
  for (const entry of entries) {
    const entryPath = Buffer.concat([path, Buffer.from("/"), entry.name]);
    compareAttributes(entry, entryPath);
    if (entry.type === "file")
      assert.ok(readContent(repository, entry).equals(readFileSync(entryPath)), String(entryPath));
    if (entry.type === "symlink") assert.deepEqual(entry.target, readlinkSync(entryPath, { encoding: "buffer" }));
    if (entry.type === "directory") count += compareFolder(repository, entry, entryPath);
  }
  return count;
}

function compareAttributes(entry: Entry, path: Buffer): void {
  const stat = lstatSync(path, { bigint: true });
  const type = stat.isFile() ? "file" : stat.isDirectory() ? "directory" : stat.isSymbolicLink() ? "symlink" : "fifo";
  assert.equal(entry.type, type);
  assert.equal(entry.mode, Number(stat.mode & 0o7777n));
  assert.equal(BigInt(entry.uid), stat.uid);
  assert.equal(BigInt(entry.gid), stat.gid);
  assert.equal(entry.mtimeSeconds * 1_000_000_000n + BigInt(entry.mtimeNanoseconds), stat.mtimeNs);
  if (type === "file") assert.equal(BigInt(entry.sizeBytes), stat.size);
  assert.equal(entry.hardLink !== undefined, type === "file" && stat.nlink > 1n);
}

for (const fromPacks of [false, true]) {
  test(`a reader written from the format's page alone reads a whole snapshot, by ${fromPacks ? "packs" : "index"}`, () => {
    const repository = openRepository(folder, openKeys(folder, PASSWORD), fromPacks);
    const { root } = readSnapshot(repository, snapshotId);
    assert.equal(root.name.length, 0);
    assert.equal(compareFolder(repository, entryAt(repository, root, source), Buffer.from(source)), 9013);
  });
}

test("the index and the packs' directories tell the same", () => {
  const ring = openKeys(folder, PASSWORD);
  const [byIndex, byPacks] = [openRepository(folder, ring), openRepository(folder, ring, true)];
  assert.deepEqual(byIndex.frames, byPacks.frames);
  assert.deepEqual(byIndex.blobs, byPacks.blobs);
});

test("the frame set names just the frames that hold what the snapshot needs", () => {
  const repository = openRepository(folder, openKeys(folder, PASSWORD));
  const { root, frameSet } = readSnapshot(repository, snapshotId);
  const needed = new Set<string>();
  const get = repository.blobs.get.bind(repository.blobs);
  repository.blobs.get = (id) => {
    const found = get(id);
    if (found !== undefined) needed.add(found.frame);
    return found;
  };
  compareFolder(repository, entryAt(repository, root, source), Buffer.from(source));
  assert.ok(needed.size >= 2);
  assert.deepEqual(needed, frameSet);
});

test("hard links, holes and extended attributes are in the trees as the page says", () => {
  const repository = openRepository(folder, openKeys(folder, PASSWORD));
  const { root, open, sealed } = readSnapshot(repository, snapshotId);
  const top = entryAt(repository, root, source);
  const [plain, linked] = [entryAt(repository, top, "plain"), entryAt(repository, top, "folder/linked")];
  assert.equal(plain.hardLink, linked.hardLink);
  assert.deepEqual(plain.blobs, entryAt(repository, top, "folder/inner/same").blobs);
  assert.equal(entryAt(repository, top, "empty").blobs.length, 0);
  const { holes } = entryAt(repository, top, "sparse");
  assert.deepEqual([holes[0].offset, holes.at(-1)!.offset + holes.at(-1)!.length], [0, 2 ** 23]);
  const value = Buffer.from("the value");
  assert.deepEqual(plain.xattrs, hasXattrs ? [{ name: Buffer.from("user.note"), value }] : []);
  assert.deepEqual(sealed["paths"], [source]);
  assert.equal(open["complete"], true);
});

test("the reader extracts a folder of a snapshot to another", () => {
  const target = join(work, "extracted");
  mkdirSync(target);
  const repository = openRepository(folder, openKeys(folder, PASSWORD));
  const { root } = readSnapshot(repository, snapshotId);
  extract(repository, entryAt(repository, root, `${source}/folder`), Buffer.from(target));
  const diff = spawnSync("diff", ["-r", "--no-dereference", join(source, "folder"), target], { encoding: "utf8" });
  assert.equal(diff.stdout + diff.stderr, "");
  assert.equal(lstatSync(join(target, "linked")).mode & 0o7777, 0o4751);
  assert.equal(lstatSync(join(target, "inner")).mode & 0o7777, 0o1777);
});

test("an age identity opens the repository where its recipient was added", async () => {
  const identity = await generateIdentity();
  holdfast("key", "add", "--recipient", await identityToRecipient(identity));
  const ring = openKeys(folder, identity);
  assert.deepEqual(ring, openKeys(folder, PASSWORD));
  assert.throws(() => openKeys(folder, "another password"), /no key file opens/);
});

test("the reader shares no code with the program", () => {
  for (const file of ["minimal-reader.ts", "key-file.ts"]) {
    const text = readFileSync(join(import.meta.dirname, file), "utf8");
    for (const [, imported] of text.matchAll(/from "([^"]+)"/g)) {
      assert.match(imported, /^(node:[a-z/]+|@napi-rs\/blake-hash|\.\/key-file\.ts)$/);
    }
    assert.ok(!/\bimport\(|\brequire\(/.test(text));
  }
});
