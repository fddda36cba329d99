import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { lstatSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { rawPathFromText, type RawPath } from "../../platform/raw-path.ts";
import {
  madeUpFile,
  madeUpFolder,
  madeUpLink,
  madeUpSnapshot,
  madeUpSpecial,
  type MadeUpEntry,
} from "../testing/memory-snapshot.ts";
import { aclText } from "./acl-text.ts";
import { encodeTarHeader, type TarHeader } from "./tar-header.ts";
import { tarArchive, type ArchiveOptions } from "./tar.ts";

async function archiveOf(folder: MadeUpEntry, options?: ArchiveOptions): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of tarArchive(madeUpSnapshot(folder).view, options)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Unpacks with GNU tar, which must have nothing to say, and gives the folder. */
async function unpacked(t: TestContext, folder: MadeUpEntry, options?: ArchiveOptions): Promise<string> {
  const target = mkdtempSync(path.join(tmpdir(), "holdfast-tar-"));
  t.after(() => rmSync(target, { recursive: true }));
  const input = await archiveOf(folder, options);
  const tar = spawnSync("tar", ["-x", "-C", target, "--no-same-owner", "--warning=no-timestamp"], {
    input,
    env: { ...process.env, LC_ALL: "C.UTF-8" },
  });
  assert.equal(tar.stderr.toString(), "");
  assert.equal(tar.status, 0);
  return target;
}

test("GNU tar unpacks files, folders, links and FIFOs", async (t) => {
  const target = await unpacked(
    t,
    madeUpFolder({
      home: madeUpFolder({
        ann: madeUpFolder({ notes: madeUpFile(["some ", "notes"], { mode: 0o640 }) }, { mode: 0o700 }),
      }),
      link: madeUpLink("home/ann"),
      empty: madeUpFile(""),
      pipe: madeUpSpecial("fifo"),
    }),
  );
  assert.equal(readFileSync(path.join(target, "home/ann/notes"), "utf8"), "some notes");
  assert.equal(statSync(path.join(target, "home/ann/notes")).mode & 0o777, 0o640);
  assert.equal(statSync(path.join(target, "home/ann")).mode & 0o777, 0o700);
  assert.equal(readlinkSync(path.join(target, "link")), "home/ann");
  assert.equal(statSync(path.join(target, "empty")).size, 0);
  assert.ok(lstatSync(path.join(target, "pipe")).isFIFO());
});

test("times before 1970, after 2038 and between seconds come through", async (t) => {
  const times: Readonly<Record<string, readonly [seconds: number, nanoseconds: number]>> = {
    epoch: [0, 0],
    exact: [1_700_000_000, 123_456_789],
    small: [5, 1],
    half: [-1, 500_000_000],
    before: [-86_401, 876_543_211],
    whole: [-10, 0],
    after: [8_589_934_591, 9],
  };
  const files = Object.entries(times).map(([name, [mtimeSeconds, mtimeNanoseconds]]) => [
    name,
    madeUpFile("", { mtimeSeconds, mtimeNanoseconds }),
  ]);
  const target = await unpacked(t, madeUpFolder(Object.fromEntries(files) as Record<string, MadeUpEntry>));
  for (const [name, [seconds, nanoseconds]] of Object.entries(times)) {
    const { mtimeNs } = statSync(path.join(target, name), { bigint: true });
    assert.equal(mtimeNs, BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds), name);
  }
});

test("names of any bytes and any length come through", async (t) => {
  const names = [
    "x".repeat(255),
    "é".repeat(127),
    "\xff".repeat(255),
    "caf\xe9",
    "new\nline",
    "\x01",
    "back\\slash",
    "-rf",
    "a=b",
  ];
  const raw = names.map((name) => (name.startsWith("é") ? rawPathFromText(name) : (name as RawPath)));
  const children = Object.fromEntries(raw.map((name) => [name, madeUpFile(name)]));
  const top = madeUpFolder({ ["d".repeat(255)]: madeUpFolder(children, { rawNames: true }) });
  const target = mkdtempSync(path.join(tmpdir(), "holdfast-tar-"));
  t.after(() => rmSync(target, { recursive: true }));
  const tar = spawnSync("tar", ["-x", "-C", target, "--no-same-owner"], { input: await archiveOf(top) });
  // GNU tar says that it does not know `hdrcharset`, which bsdtar needs, and does the right thing.
  assert.match(tar.stderr.toString(), /^(tar: Ignoring unknown extended header keyword 'hdrcharset'\n)*$/);
  assert.equal(tar.status, 0);
  const found = readdirSync(path.join(target, "d".repeat(255)), { encoding: "buffer" }).map((name) =>
    name.toString("latin1"),
  );
  assert.deepEqual(found.toSorted(), raw.toSorted());
});

test("long link targets and hard links to long paths come through", async (t) => {
  const hardLink = Buffer.alloc(16, 7);
  const folder = "d".repeat(200);
  const target = await unpacked(
    t,
    madeUpFolder({
      [folder]: madeUpFolder({ first: madeUpFile("same", { hardLink }) }),
      second: madeUpFile("same", { hardLink }),
      symlink: madeUpLink("t".repeat(3000)),
    }),
  );
  assert.equal(statSync(path.join(target, "second")).ino, statSync(path.join(target, folder, "first")).ino);
  assert.equal(readlinkSync(path.join(target, "symlink")), "t".repeat(3000));
});

const MEBIBYTE = 1024 * 1024;
const SPARSE: Readonly<Record<string, MadeUpEntry>> = {
  start: madeUpFile("data at the end", { holes: [{ offset: 0, lengthBytes: MEBIBYTE }] }),
  end: madeUpFile("data at the start", { holes: [{ offset: 17, lengthBytes: MEBIBYTE }] }),
  both: madeUpFile(["abc", "def"], {
    holes: [
      { offset: 0, lengthBytes: 4096 },
      { offset: 4100, lengthBytes: 5 * MEBIBYTE },
    ],
  }),
  all: madeUpFile("", { holes: [{ offset: 0, lengthBytes: 10 * MEBIBYTE }] }),
  huge: madeUpFile("end", { holes: [{ offset: 0, lengthBytes: 20 * 1024 * MEBIBYTE }] }),
  unaligned: madeUpFile(["x".repeat(700), "y".repeat(1000)], {
    holes: [
      { offset: 100, lengthBytes: 7 },
      { offset: 300, lengthBytes: 5000 },
      { offset: 6000, lengthBytes: 100_000 },
    ],
  }),
};

test("GNU tar makes the holes again, and the content around them is right", async (t) => {
  const target = await unpacked(t, madeUpFolder(SPARSE));
  const { view } = madeUpSnapshot(madeUpFolder(SPARSE));
  for (const name of Object.keys(SPARSE)) {
    const entry = await view.lookup(rawPathFromText(name));
    assert.ok(entry?.type === "file");
    const stat = statSync(path.join(target, name));
    assert.equal(stat.size, entry.sizeBytes, name);
    assert.ok(stat.blocks * 512 <= 64 * 1024, `${name} takes ${stat.blocks} blocks`);
    if (stat.size < 100 * MEBIBYTE) {
      assert.ok(
        Buffer.from(await view.read(entry, 0, entry.sizeBytes)).equals(readFileSync(path.join(target, name))),
        name,
      );
    }
  }
});

test("only what is asked for is archived, under its full path", async () => {
  const { view } = madeUpSnapshot(
    madeUpFolder({ a: madeUpFolder({ b: madeUpFolder({ c: madeUpFile("1") }) }), d: madeUpFile("2") }),
  );
  const from = { path: rawPathFromText("a/b"), entry: (await view.lookup(rawPathFromText("a/b")))! };
  const pieces: Buffer[] = [];
  for await (const piece of tarArchive(view, { from })) pieces.push(piece);
  const listed = spawnSync("tar", ["-t"], { input: Buffer.concat(pieces) });
  assert.equal(listed.stdout.toString(), "a/b/\na/b/c\n");
});

test("a socket is left out, and told", async () => {
  const skipped: string[] = [];
  const archive = await archiveOf(madeUpFolder({ s: madeUpSpecial("socket"), f: madeUpFile("1") }), {
    onSkipped: (entryPath) => skipped.push(entryPath),
  });
  assert.equal(spawnSync("tar", ["-t"], { input: archive }).stdout.toString(), "f\n");
  assert.deepEqual(skipped, ["s"]);
});

test("an empty snapshot is an archive that tar takes", async () => {
  const archive = await archiveOf(madeUpFolder({}));
  assert.equal(archive.length, 10_240);
  assert.equal(spawnSync("tar", ["-t"], { input: archive }).status, 0);
});

test("an archive ends in an error when content is missing, before its end marker", async () => {
  const { view, store } = madeUpSnapshot(madeUpFolder({ a: madeUpFile("x".repeat(600_000)), b: madeUpFile("gone") }));
  const entry = await view.lookup(rawPathFromText("b"));
  assert.ok(entry?.type === "file");
  store.lose(entry.content[0].id);
  const pieces: Buffer[] = [];
  await assert.rejects(
    async () => {
      for await (const piece of tarArchive(view)) pieces.push(piece);
    },
    { name: "ObjectMissingError" },
  );
  assert.ok(pieces.length > 0);
});

const PLAIN_HEADER: TarHeader = {
  path: "f",
  typeFlag: "0",
  mode: 0o644,
  uid: 0,
  gid: 0,
  userName: "",
  groupName: "",
  sizeBytes: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  linkTarget: "",
  deviceMajor: 0,
  deviceMinor: 0,
  records: [],
};

test("a size over 8 GiB and owners beyond seven octal digits stand in extended records", () => {
  const large = { uid: 4_000_000_000, gid: 3_000_000_000, sizeBytes: 9 * 2 ** 30 };
  const text = encodeTarHeader({ ...PLAIN_HEADER, ...large }).toString("latin1");
  for (const record of ["18 uid=4000000000\n", "18 gid=3000000000\n", "19 size=9663676416\n"])
    assert.ok(text.includes(record), record);
});

test("a record's length counts its own digits, also where they make it longer", () => {
  for (let length = 0; length < 1200; length++) {
    const value = "v".repeat(length);
    const text = encodeTarHeader({ ...PLAIN_HEADER, records: [{ key: "k", value }] }).toString("latin1", 512);
    const claimed = Number.parseInt(text, 10);
    assert.equal(text.slice(0, claimed), `${claimed} k=${value}\n`);
  }
});

function aclEntry(tag: number, rights: number, id: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16LE(tag, 0);
  bytes.writeUInt16LE(rights, 2);
  bytes.writeUInt32LE(id, 4);
  return bytes;
}

test("an ACL is written as the text that setfacl reads", () => {
  const none = 0xffff_ffff;
  const acl = Buffer.concat([
    Buffer.from([2, 0, 0, 0]),
    aclEntry(0x01, 6, none),
    aclEntry(0x02, 7, 12_345),
    aclEntry(0x04, 4, none),
    aclEntry(0x08, 5, 54_321),
    aclEntry(0x10, 7, none),
    aclEntry(0x20, 0, none),
  ]);
  assert.equal(aclText(acl), "user::rw-,user:12345:rwx,group::r--,group:54321:r-x,mask::rwx,other::---");
  assert.equal(aclText(acl.subarray(0, 11)), undefined);
  assert.equal(aclText(Buffer.from([9, 0, 0, 0])), undefined);
});
