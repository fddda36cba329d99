import assert from "node:assert/strict";
import { symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { atEnd } from "../../test/support/at-end.ts";
import { skipUnless } from "../../test/support/requirements.ts";
import { runOk } from "../../test/support/run-command.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import {
  readXattrsAt,
  readXattrsFd,
  removeXattrAt,
  removeXattrFd,
  setXattrAt,
  setXattrFd,
  type Xattr,
  xattrsThroughProc,
} from "./extended-attributes.ts";
import { AT_FDCWD, closeFd, OPEN, openAt, openPath } from "./open.ts";
import { type RawPath, rawPathFromText } from "./raw-path.ts";

const attribute = (name: string, value: string | Uint8Array): Xattr => ({
  name: name as RawPath,
  value: typeof value === "string" ? new Uint8Array(Buffer.from(value)) : value,
});

interface Opened {
  readonly folderFd: number;
  readonly fd: number;
}

function fileIn(t: TestContext, folder: string): Opened {
  writeFileSync(path.join(folder, "file"), "");
  const folderFd = openPath(rawPathFromText(folder), OPEN.PATH);
  const fd = openAt(folderFd, "file" as RawPath, OPEN.READ_WRITE);
  atEnd(t, () => [folderFd, fd].forEach(closeFd));
  return { folderFd, fd };
}

const FILE = "file" as RawPath;

const ways = [
  {
    how: "by descriptor",
    read: ({ fd }: Opened) => readXattrsFd(fd),
    set: ({ fd }: Opened, one: Xattr) => setXattrFd(fd, one),
    remove: ({ fd }: Opened, name: RawPath) => removeXattrFd(fd, name),
  },
  {
    how: "by name in a folder",
    read: ({ folderFd }: Opened) => readXattrsAt(folderFd, FILE),
    set: ({ folderFd }: Opened, one: Xattr) => setXattrAt(folderFd, FILE, one),
    remove: ({ folderFd }: Opened, name: RawPath) => removeXattrAt(folderFd, FILE, name),
  },
  {
    how: "by name in a folder, as on older kernels",
    read: ({ folderFd }: Opened) => xattrsThroughProc.read(folderFd, FILE),
    set: ({ folderFd }: Opened, one: Xattr) => xattrsThroughProc.set(folderFd, FILE, one),
    remove: ({ folderFd }: Opened, name: RawPath) => xattrsThroughProc.remove(folderFd, FILE, name),
  },
];

for (const { how, read, set, remove } of ways) {
  describe(`extended attributes ${how}`, () => {
    it("are none where there are none", (t) => {
      assert.deepEqual(read(fileIn(t, temporaryFolder(t))), []);
    });

    it("come back in order of their names, with empty values and any bytes", (t) => {
      const opened = fileIn(t, temporaryFolder(t));
      const every = Uint8Array.from({ length: 256 }, (_, index) => index);
      const attributes = [
        attribute("user.\xe9", "x"),
        attribute("user.b", ""),
        attribute("user.a", every),
        attribute("user.with\nnewline", "y"),
      ];
      for (const one of attributes) set(opened, one);
      assert.deepEqual(read(opened), [attributes[2], attributes[1], attributes[3], attributes[0]]);
    });

    it("are replaced and removed; removing what is not there does nothing", (t) => {
      const opened = fileIn(t, temporaryFolder(t));
      set(opened, attribute("user.a", "long before"));
      set(opened, attribute("user.a", "short"));
      assert.deepEqual(read(opened), [attribute("user.a", "short")]);
      remove(opened, "user.a" as RawPath);
      remove(opened, "user.a" as RawPath);
      assert.deepEqual(read(opened), []);
    });

    it("may be 60 KiB long, and very many", { skip: skipUnless({ root: true }) }, async (t) => {
      const folder = temporaryFolder(t);
      await runOk("mount", ["-t", "tmpfs", "none", folder]);
      atEnd(t, async () => void (await runOk("umount", [folder])));
      const opened = fileIn(t, folder);
      const large = new Uint8Array(60 * 1024).fill(7);
      set(opened, attribute("trusted.large", large));
      const many = Array.from({ length: 1000 }, (_, index) =>
        attribute(`trusted.${String(index).padStart(4, "0")}-${"n".repeat(40)}`, `value ${index}`),
      );
      for (const one of many) set(opened, one);
      assert.deepEqual(read(opened), [...many, attribute("trusted.large", large)]);
      for (const one of [...many, attribute("trusted.large", large)]) remove(opened, one.name);
    });

    it("cannot be longer than the kernel takes", (t) => {
      const opened = fileIn(t, temporaryFolder(t));
      assert.throws(() => set(opened, attribute("user.a", new Uint8Array(65537))), { code: "ERANGE" });
    });
  });
}

describe("extended attributes", () => {
  it("of a symbolic link are its own", { skip: skipUnless({ root: true }) }, (t) => {
    const folder = temporaryFolder(t);
    const { folderFd } = fileIn(t, folder);
    symlinkSync("file", path.join(folder, "link"));
    setXattrAt(folderFd, "link" as RawPath, attribute("trusted.of-link", "1"));
    setXattrAt(folderFd, FILE, attribute("trusted.of-file", "2"));
    assert.deepEqual(readXattrsAt(folderFd, "link" as RawPath), [attribute("trusted.of-link", "1")]);
    assert.deepEqual(xattrsThroughProc.read(folderFd, "link" as RawPath), [attribute("trusted.of-link", "1")]);
    assert.deepEqual(readXattrsAt(folderFd, FILE), [attribute("trusted.of-file", "2")]);
  });

  it("are none on a file system that knows none", () => {
    const fd = openPath("/proc/self/status" as RawPath, OPEN.READ);
    assert.deepEqual(readXattrsFd(fd), []);
    closeFd(fd);
    assert.deepEqual(readXattrsAt(AT_FDCWD, "/proc/version" as RawPath), []);
  });

  it("that are refused name the attribute and the file", (t) => {
    const { folderFd } = fileIn(t, temporaryFolder(t));
    assert.throws(() => setXattrAt(folderFd, FILE, attribute("nonsense.a", "1")), {
      code: "ENOTSUP",
      message: "set extended attribute nonsense.a of file: operation not supported (ENOTSUP)",
    });
    assert.throws(() => readXattrsAt(folderFd, "nothing" as RawPath), { code: "ENOENT" });
  });
});
