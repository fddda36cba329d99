import assert from "node:assert/strict";
import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { atEnd } from "../../test/support/at-end.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import {
  linkAt,
  makeDirectoryAt,
  makeNodeAt,
  makeSymlinkAt,
  removeDirectoryAt,
  renameAt,
  renameWithoutReplacingAt,
  unlinkAt,
} from "./make.ts";
import { closeFd, OPEN, openPath } from "./open.ts";
import { type RawPath, rawPathFromText } from "./raw-path.ts";
import { readLinkAt } from "./read-link.ts";
import { statAt, statAtIfExists } from "./stat.ts";

const raw = (name: string): RawPath => name as RawPath;

function folderFd(t: TestContext): { readonly fd: number; readonly folder: string } {
  const folder = temporaryFolder(t);
  const fd = openPath(rawPathFromText(folder), OPEN.PATH);
  atEnd(t, () => closeFd(fd));
  return { fd, folder };
}

describe("making names", () => {
  it("takes names of any bytes, up to 255 of them", (t) => {
    const { fd } = folderFd(t);
    for (const name of ["caf\xe9", "new\nline", "\xff\xfe", "x".repeat(255), "\xf0".repeat(255), " ", "*"]) {
      makeDirectoryAt(fd, raw(name), 0o755);
      assert.equal(statAt(fd, raw(name)).type, "directory");
      removeDirectoryAt(fd, raw(name));
      makeNodeAt(fd, raw(name), "file", 0o600);
      assert.equal(statAt(fd, raw(name)).type, "file");
    }
    assert.throws(() => makeDirectoryAt(fd, raw("x".repeat(256)), 0o755), { code: "ENAMETOOLONG" });
  });

  it("makes symbolic links with targets of any bytes and up to 4,095 of them", (t) => {
    const { fd, folder } = folderFd(t);
    for (const target of ["nowhere", "/", "\xff\n", "t".repeat(4095)]) {
      makeSymlinkAt(raw(target), fd, raw("link"));
      assert.equal(readLinkAt(fd, raw("link")), target);
      assert.equal(readlinkSync(path.join(folder, "link"), "latin1"), target);
      unlinkAt(fd, raw("link"));
    }
  });

  it("links a symbolic link itself, not what it points to", (t) => {
    const { fd } = folderFd(t);
    makeSymlinkAt(raw("nowhere"), fd, raw("link"));
    linkAt(fd, raw("link"), fd, raw("second"));
    assert.equal(readLinkAt(fd, raw("second")), "nowhere");
    assert.equal(statAt(fd, raw("link")).links, 2);
  });

  it("removes names, and folders only when empty", (t) => {
    const { fd } = folderFd(t);
    makeDirectoryAt(fd, raw("folder"), 0o755);
    makeNodeAt(fd, raw("folder/file"), "file", 0o600);
    assert.throws(() => removeDirectoryAt(fd, raw("folder")), { code: "ENOTEMPTY" });
    assert.throws(() => unlinkAt(fd, raw("folder")), { code: "EISDIR" });
    unlinkAt(fd, raw("folder/file"));
    removeDirectoryAt(fd, raw("folder"));
    assert.equal(statAtIfExists(fd, raw("folder")), undefined);
  });

  it("renames over what is there, or not, as asked", (t) => {
    const { fd, folder } = folderFd(t);
    writeFileSync(path.join(folder, "new"), "new");
    writeFileSync(path.join(folder, "old"), "old");
    assert.throws(() => renameWithoutReplacingAt(fd, raw("new"), fd, raw("old")), { code: "EEXIST" });
    assert.equal(readFileSync(path.join(folder, "old"), "utf8"), "old");
    renameAt(fd, raw("new"), fd, raw("old"));
    assert.equal(readFileSync(path.join(folder, "old"), "utf8"), "new");
    renameWithoutReplacingAt(fd, raw("old"), fd, raw("elsewhere"));
    assert.equal(statAtIfExists(fd, raw("old")), undefined);
  });

  it("says which name was refused and why", (t) => {
    const { fd } = folderFd(t);
    makeDirectoryAt(fd, raw("x"), 0o755);
    assert.throws(() => makeDirectoryAt(fd, raw("x"), 0o755), { message: "mkdir x: file already exists (EEXIST)" });
  });
});
