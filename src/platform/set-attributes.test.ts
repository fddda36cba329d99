import assert from "node:assert/strict";
import { chmodSync, lstatSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { mountFileSystem } from "../../test/support/file-system-image.ts";
import { atEnd } from "../../test/support/at-end.ts";
import { skipUnless } from "../../test/support/requirements.ts";
import { run } from "../../test/support/run-command.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { INODE_FLAGS } from "./file-stat.ts";
import { closeFd, OPEN, openAt, openPath } from "./open.ts";
import { type RawPath, rawPathFromText } from "./raw-path.ts";
import {
  chmodAt,
  chmodFd,
  chmodThroughProc,
  chownAt,
  chownFd,
  getInodeFlags,
  setInodeFlags,
  setTimesAt,
  setTimesFd,
} from "./set-attributes.ts";
import { statAt, statFd } from "./stat.ts";

const FILE = "file" as RawPath;
const LINK = "link" as RawPath;

/** A folder with a file and a link to it. */
function prepare(t: TestContext, folder = temporaryFolder(t)): { folder: string; folderFd: number; fd: number } {
  writeFileSync(path.join(folder, "file"), "content", { mode: 0o600 });
  symlinkSync("file", path.join(folder, "link"));
  const folderFd = openPath(rawPathFromText(folder), OPEN.PATH);
  const fd = openAt(folderFd, FILE, OPEN.READ);
  atEnd(t, () => [folderFd, fd].forEach(closeFd));
  return { folder, folderFd, fd };
}

describe("modes", () => {
  for (const { how, change } of [
    { how: "chmodAt", change: chmodAt },
    { how: "chmodAt on older kernels", change: chmodThroughProc },
  ]) {
    it(`are set with all twelve bits by ${how}, and never through a link`, (t) => {
      const { folderFd } = prepare(t);
      change(folderFd, FILE, 0o7051);
      assert.equal(statAt(folderFd, FILE).mode, 0o7051);
      assert.throws(() => change(folderFd, LINK, 0o777), { code: "ENOTSUP" });
      assert.equal(statAt(folderFd, FILE).mode, 0o7051);
      assert.throws(() => change(folderFd, "nothing" as RawPath, 0o600), { code: "ENOENT" });
    });
  }

  it("are set on a descriptor", (t) => {
    const { fd } = prepare(t);
    chmodFd(fd, 0o4000);
    assert.equal(statFd(fd).mode, 0o4000);
  });
});

describe("owners", () => {
  it("are set up to the largest number, and on a link itself", { skip: skipUnless({ root: true }) }, (t) => {
    const { folderFd, fd } = prepare(t);
    chownAt(folderFd, LINK, 4_294_967_294, 12);
    chownFd(fd, 1, 4_000_000_000);
    const link = statAt(folderFd, LINK);
    const file = statAt(folderFd, FILE);
    assert.deepEqual([link.uid, link.gid, file.uid, file.gid], [4_294_967_294, 12, 1, 4_000_000_000]);
  });
});

describe("times", () => {
  it("are set on a link itself, on a file of mode 000 and on a descriptor, without touching the access time", (t) => {
    const { folder, folderFd, fd } = prepare(t);
    chmodSync(path.join(folder, "file"), 0);
    const accessed = lstatSync(path.join(folder, "file"), { bigint: true }).atimeNs;
    setTimesAt(folderFd, FILE, { mtimeSeconds: -1, mtimeNanoseconds: 1 });
    setTimesAt(folderFd, LINK, { mtimeSeconds: 5, mtimeNanoseconds: 999_999_999 });
    assert.equal(lstatSync(path.join(folder, "file"), { bigint: true }).mtimeNs, -999_999_999n);
    assert.equal(lstatSync(path.join(folder, "link"), { bigint: true }).mtimeNs, 5_999_999_999n);
    setTimesFd(fd, { mtimeSeconds: 2 ** 33, mtimeNanoseconds: 7 });
    const after = lstatSync(path.join(folder, "file"), { bigint: true });
    assert.equal(after.mtimeNs, 2n ** 33n * 1_000_000_000n + 7n);
    assert.equal(after.atimeNs, accessed);
  });
});

describe("inode flags", () => {
  const skip = skipUnless({ root: true, commands: ["mkfs.ext4", "mount"] });

  it("are set, seen by stat, and taken away again; others stay", { skip }, async (t) => {
    const folder = await mountFileSystem(t, { type: "ext4", sizeMebibytes: 16 });
    const { folderFd, fd } = prepare(t, folder);
    const { immutable, appendOnly, noDump } = INODE_FLAGS;
    await run("chattr", ["+S", path.join(folder, "file")]);
    for (const flags of [noDump, immutable, immutable | appendOnly | noDump, appendOnly, 0]) {
      setInodeFlags(fd, flags);
      assert.equal(getInodeFlags(fd), flags);
      assert.equal(statAt(folderFd, FILE).inodeFlags, flags);
      assert.match((await run("lsattr", [path.join(folder, "file")])).stdout, /^--S/);
    }
  });

  it("are 0, and cannot be set, where the file system has none", () => {
    const fd = openPath("/proc/version" as RawPath, OPEN.READ);
    assert.equal(getInodeFlags(fd), 0);
    setInodeFlags(fd, 0);
    assert.throws(() => setInodeFlags(fd, INODE_FLAGS.noDump), { code: "ENOTSUP" });
    closeFd(fd);
  });
});
