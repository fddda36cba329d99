import assert from "node:assert/strict";
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { skipUnless } from "../../test/support/requirements.ts";
import type { FileEntry } from "../format/tree.ts";
import { readXattrsFd } from "../platform/extended-attributes.ts";
import { rawPathFromText, type RawPath } from "../platform/raw-path.ts";
import { statFd } from "../platform/stat.ts";
import { applyAttributes, hasAttributes, type OwnerPolicy, type Shortfall } from "./attributes.ts";

const ENTRY: FileEntry = {
  name: "file" as RawPath,
  type: "file",
  mode: 0o6755,
  uid: 4242,
  gid: 4243,
  user: "daemon",
  group: "no such group anywhere",
  mtimeSeconds: -5,
  mtimeNanoseconds: 123_456_789,
  inodeFlags: 0,
  xattrs: [{ name: rawPathFromText("user.a"), value: Buffer.from("1") }],
  hardLink: undefined,
  sizeBytes: 0,
  content: [],
  holes: [],
};

const ROOT: OwnerPolicy = { asRoot: true, uid: 0, gids: [0], byName: false };

function openedFile(t: TestContext): number {
  const folder = mkdtempSync(path.join(tmpdir(), "holdfast-attributes-"));
  writeFileSync(path.join(folder, "file"), "", { mode: 0o600 });
  const fd = openSync(path.join(folder, "file"), "r");
  t.after(() => {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  });
  return fd;
}

function apply(fd: number, policy: OwnerPolicy, entry: FileEntry = ENTRY): Shortfall[] {
  const shortfalls: Shortfall[] = [];
  const options = { policy, before: undefined, mayHaveInherited: false, leaveWritable: false };
  applyAttributes({ fd }, entry, options, (kind) => shortfalls.push(kind));
  return shortfalls;
}

test("root sets owner, mode, attributes and time exactly", { skip: skipUnless({ root: true }) }, (t) => {
  const fd = openedFile(t);
  assert.deepEqual(apply(fd, ROOT), []);
  const { uid, gid, mode } = fstatSync(fd);
  assert.deepEqual([uid, gid, mode & 0o7777], [4242, 4243, 0o6755]);
  assert.equal(fstatSync(fd, { bigint: true }).mtimeNs, -5_000_000_000n + 123_456_789n);
  assert.equal(hasAttributes(ENTRY, { stat: statFd(fd), xattrs: readXattrsFd(fd) }, ROOT), true);
});

test(
  "owners go by name where this machine knows the name, and else by number",
  { skip: skipUnless({ root: true }) },
  (t) => {
    const fd = openedFile(t);
    apply(fd, { ...ROOT, byName: true });
    const { uid, gid } = fstatSync(fd);
    // "daemon" is user 1 on every Debian, Fedora and Alpine.
    assert.deepEqual([uid, gid], [1, 4243]);
  },
);

test("whoever cannot give a file away does not make it run with the rights of another", (t) => {
  const fd = openedFile(t);
  const { uid, gid } = fstatSync(fd);
  const user: OwnerPolicy = { asRoot: false, uid, gids: [gid], byName: false };
  assert.deepEqual(apply(fd, user), ["owner"]);
  assert.equal(fstatSync(fd).mode & 0o7777, 0o755);
  assert.deepEqual(apply(fd, user, { ...ENTRY, uid, gid }), []);
  assert.equal(fstatSync(fd).mode & 0o7777, 0o6755);
  assert.deepEqual(apply(fd, user, { ...ENTRY, uid }), ["owner"]);
  assert.equal(fstatSync(fd).mode & 0o7777, 0o4755);
});

test("a difference in any attribute is seen", (t) => {
  const fd = openedFile(t);
  const { uid, gid } = fstatSync(fd);
  const policy: OwnerPolicy = { asRoot: uid === 0, uid, gids: [gid], byName: false };
  const same: FileEntry = { ...ENTRY, uid, gid };
  apply(fd, policy, same);
  const existing = { stat: statFd(fd), xattrs: readXattrsFd(fd) };
  assert.equal(hasAttributes(same, existing, policy), true);
  const others: Partial<FileEntry>[] = [
    { mode: 0o755 },
    { uid: uid + 1 },
    { gid: gid + 1 },
    { mtimeSeconds: -6 },
    { mtimeNanoseconds: 0 },
    { inodeFlags: 4 },
    { xattrs: [] },
    { xattrs: [{ ...ENTRY.xattrs[0], value: Buffer.from("2") }] },
    { xattrs: [...ENTRY.xattrs, { name: rawPathFromText("user.b"), value: Buffer.from("") }] },
  ];
  for (const other of others) {
    assert.equal(hasAttributes({ ...same, ...other }, existing, policy), false, JSON.stringify(other));
  }
});
