import assert from "node:assert/strict";
import { mkdirSync, readSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { atEnd } from "../../test/support/at-end.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { makeDirectoryAt } from "./make.ts";
import { closeFd, OPEN, openAt, openBeneath, openPartsBeneath, openPath } from "./open.ts";
import { type RawPath, rawPathFromText } from "./raw-path.ts";
import { statFd } from "./stat.ts";
import { SystemError } from "./system-error.ts";

const raw = rawPathFromText;

function openFolder(t: TestContext, folder: string): number {
  const fd = openPath(raw(folder), OPEN.PATH | OPEN.DIRECTORY);
  atEnd(t, () => closeFd(fd));
  return fd;
}

function contentOf(fd: number): string {
  const bytes = Buffer.alloc(100);
  try {
    return bytes.toString("utf8", 0, readSync(fd, bytes));
  } finally {
    closeFd(fd);
  }
}

/** A folder of 20 levels with names of 250 bytes: a path of 5,000 bytes. Returns the path below `folder`. */
function makeLongPath(t: TestContext, folder: string): RawPath {
  const name = "d".repeat(250) as RawPath;
  let fd = openFolder(t, folder);
  for (let level = 0; level < 20; level++) {
    makeDirectoryAt(fd, name, 0o755);
    fd = openAt(fd, name, OPEN.READ | OPEN.DIRECTORY);
    const opened = fd;
    atEnd(t, () => closeFd(opened));
  }
  const file = openAt(fd, "file" as RawPath, OPEN.WRITE | OPEN.CREATE, 0o600);
  closeFd(file);
  return `${Array.from({ length: 20 }, () => name).join("/")}/file` as RawPath;
}

const waysBeneath = [
  { how: "openBeneath", open: openBeneath },
  {
    how: "openBeneath without openat2",
    open: (fd: number, below: RawPath, flags: number, mode = 0) => openPartsBeneath(fd, below, flags, mode),
  },
];

for (const { how, open } of waysBeneath) {
  describe(how, () => {
    it("opens what lies below the folder", (t) => {
      const folder = temporaryFolder(t);
      mkdirSync(path.join(folder, "a/b"), { recursive: true });
      writeFileSync(path.join(folder, "a/b/c"), "hello");
      const fd = openFolder(t, folder);
      assert.equal(contentOf(open(fd, raw("a/b/c"), OPEN.READ)), "hello");
      assert.equal(contentOf(open(fd, raw("a//b/./c"), OPEN.READ)), "hello");
    });

    it("takes an empty path for the folder itself", (t) => {
      const folder = temporaryFolder(t);
      const fd = openFolder(t, folder);
      const again = open(fd, raw(""), OPEN.READ | OPEN.DIRECTORY);
      assert.equal(statFd(again).inodeLow, statFd(fd).inodeLow);
      closeFd(again);
    });

    it("makes files with the mode given", (t) => {
      const folder = temporaryFolder(t);
      const fd = open(openFolder(t, folder), raw("new"), OPEN.WRITE | OPEN.CREATE | OPEN.EXCLUSIVE, 0o640);
      // The umask may take the rest.
      assert.equal(statFd(fd).mode & 0o707, 0o600);
      closeFd(fd);
    });

    const refused: readonly [what: string, below: string, codes: readonly string[]][] = [
      ["a link at the end", "link-to-file", ["ELOOP"]],
      ["a link on the way", "link-to-folder/file", ["ELOOP", "ENOTDIR"]],
      ["a link that stays inside", "inner-link/file", ["ELOOP", "ENOTDIR"]],
      ["an absolute path", "/etc/passwd", ["EXDEV"]],
      ["a way out by ..", "../secret", ["EXDEV"]],
      ["a way out by .. from further in", "inner/../../secret", ["EXDEV"]],
      ["what is not there", "nothing/here", ["ENOENT"]],
    ];
    for (const [what, below, codes] of refused) {
      it(`refuses ${what}`, (t) => {
        const folder = temporaryFolder(t);
        const inside = path.join(folder, "inside");
        mkdirSync(path.join(inside, "inner"), { recursive: true });
        writeFileSync(path.join(folder, "secret"), "secret");
        writeFileSync(path.join(folder, "file"), "secret");
        writeFileSync(path.join(inside, "inner/file"), "harmless");
        symlinkSync("../secret", path.join(inside, "link-to-file"));
        symlinkSync("..", path.join(inside, "link-to-folder"));
        symlinkSync("inner", path.join(inside, "inner-link"));
        const fd = openFolder(t, inside);
        assert.throws(
          () => open(fd, raw(below), OPEN.READ),
          (error) => error instanceof SystemError && codes.includes(error.code) && error.path === below,
        );
      });
    }

    it("opens paths longer than the kernel takes at once", (t) => {
      const folder = temporaryFolder(t);
      const below = makeLongPath(t, folder);
      const fd = openFolder(t, folder);
      assert.ok(below.length > 4096);
      const opened = open(fd, below, OPEN.READ);
      assert.equal(statFd(opened).type, "file");
      closeFd(opened);
      assert.throws(() => open(fd, `${below}-not` as RawPath, OPEN.READ), { code: "ENOENT" });
    });

    it("follows no link on a path longer than the kernel takes at once", (t) => {
      const folder = temporaryFolder(t);
      const below = makeLongPath(t, folder);
      const name = below.slice(0, below.indexOf("/"));
      renameSync(path.join(folder, name), path.join(folder, "moved"));
      symlinkSync("moved", path.join(folder, name));
      const fd = openFolder(t, folder);
      assert.throws(
        () => open(fd, below, OPEN.READ),
        (error) => error instanceof SystemError && (error.code === "ELOOP" || error.code === "ENOTDIR"),
      );
    });

    it("gives up on a name longer than any file system has, not on a long path", (t) => {
      const fd = openFolder(t, temporaryFolder(t));
      assert.throws(() => open(fd, "n".repeat(300) as RawPath, OPEN.READ), { code: "ENAMETOOLONG" });
      assert.throws(() => open(fd, "n".repeat(9000) as RawPath, OPEN.READ), { code: "ENAMETOOLONG" });
    });
  });
}

describe("openPath", () => {
  it("follows links, and takes paths longer than the kernel takes at once", (t) => {
    const folder = temporaryFolder(t);
    const below = makeLongPath(t, folder);
    const link = `${folder}-link`;
    symlinkSync(folder, link);
    atEnd(t, () => renameSync(link, path.join(folder, "link")));
    const fd = openPath(`${raw(link)}/${below}` as RawPath, OPEN.READ);
    assert.equal(statFd(fd).type, "file");
    closeFd(fd);
  });

  it("refuses a path with a NUL, where the kernel would see a shorter one", () => {
    assert.throws(() => openPath("/etc\0/nothing" as RawPath, OPEN.PATH), { code: "EINVAL" });
  });

  it("names the path and the reason when it fails", () => {
    assert.throws(() => openPath(raw("/nothing\nhere"), OPEN.READ), {
      name: "SystemError",
      code: "ENOENT",
      message: "open /nothing\\nhere: no such file or directory (ENOENT)",
    });
  });
});
