import assert from "node:assert/strict";
import { lstatSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { Worker } from "node:worker_threads";
import { skipUnless } from "../../test/support/requirements.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { makeNodeAt } from "./make.ts";
import { AT_FDCWD, closeFd, OPEN, openPath } from "./open.ts";
import { type RawPath, rawPathFromText } from "./raw-path.ts";
import { setTimesAt } from "./set-attributes.ts";
import { statAt, statAtIfExists, statFd } from "./stat.ts";

describe("statAt", () => {
  it("tells what lstat of Node tells, for each type", (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(path.join(folder, "file"), "content", { mode: 0o4711 });
    truncateSync(path.join(folder, "file"), 5 * 2 ** 32 + 7);
    mkdirSync(path.join(folder, "directory"), { mode: 0o1777 });
    symlinkSync("nowhere", path.join(folder, "symlink"));
    const fd = openPath(rawPathFromText(folder), OPEN.PATH);
    makeNodeAt(fd, "fifo" as RawPath, "fifo", 0o600);
    makeNodeAt(fd, "socket" as RawPath, "socket", 0o600);
    for (const name of ["file", "directory", "symlink", "fifo", "socket"]) {
      const ours = statAt(fd, name as RawPath);
      const theirs = lstatSync(path.join(folder, name), { bigint: true });
      assert.equal(ours.type, name);
      assert.equal(BigInt(ours.mode), theirs.mode & 0o7777n);
      assert.equal(BigInt(ours.uid), theirs.uid);
      assert.equal(BigInt(ours.gid), theirs.gid);
      assert.equal(BigInt(ours.sizeBytes), theirs.size);
      assert.equal(BigInt(ours.links), theirs.nlink);
      assert.equal(BigInt(ours.allocatedBytes), theirs.blocks * 512n);
      assert.equal((BigInt(ours.inodeHigh) << 32n) | BigInt(ours.inodeLow), theirs.ino);
      assert.equal(BigInt(ours.mtimeSeconds) * 1_000_000_000n + BigInt(ours.mtimeNanoseconds), theirs.mtimeNs);
      assert.equal(BigInt(ours.ctimeSeconds) * 1_000_000_000n + BigInt(ours.ctimeNanoseconds), theirs.ctimeNs);
      assert.equal(ours.deviceMajor, Number((theirs.dev >> 8n) & 0xfffn));
    }
    closeFd(fd);
  });

  it("tells device numbers over 255", { skip: skipUnless({ root: true }) }, (t) => {
    const fd = openPath(rawPathFromText(temporaryFolder(t)), OPEN.PATH);
    const numbers = [
      [1, 3],
      [255, 255],
      [256, 256],
      [4095, 1048575],
    ] as const;
    for (const [index, [major, minor]] of numbers.entries()) {
      const name = `device-${index}` as RawPath;
      makeNodeAt(fd, name, index % 2 === 0 ? "char" : "block", 0o600, major, minor);
      const { type, rdevMajor, rdevMinor } = statAt(fd, name);
      assert.deepEqual([type, rdevMajor, rdevMinor], [index % 2 === 0 ? "char" : "block", major, minor]);
    }
    closeFd(fd);
  });

  const times = [
    { what: "one nanosecond before 1970", mtimeSeconds: -1, mtimeNanoseconds: 999_999_999 },
    { what: "1905", mtimeSeconds: -2_051_222_400, mtimeNanoseconds: 1 },
    { what: "the last second of 2038's clock", mtimeSeconds: 2 ** 31 - 1, mtimeNanoseconds: 5 },
    { what: "after 2038", mtimeSeconds: 2 ** 31, mtimeNanoseconds: 123_456_789 },
    { what: "after 2106", mtimeSeconds: 2 ** 32 + 1, mtimeNanoseconds: 999_999_999 },
  ];
  for (const { what, ...time } of times) {
    it(`tells a time of ${what} as it was set, to the nanosecond`, (t) => {
      const folder = temporaryFolder(t);
      symlinkSync("nowhere", path.join(folder, "link"));
      const fd = openPath(rawPathFromText(folder), OPEN.PATH);
      setTimesAt(fd, "link" as RawPath, time);
      const { mtimeSeconds, mtimeNanoseconds } = statAt(fd, "link" as RawPath);
      assert.deepEqual({ mtimeSeconds, mtimeNanoseconds }, time);
      closeFd(fd);
    });
  }

  it("names what it cannot find", () => {
    assert.throws(() => statAt(AT_FDCWD, "/no/such\tthing" as RawPath), {
      code: "ENOENT",
      message: "stat /no/such\\tthing: no such file or directory (ENOENT)",
    });
    assert.throws(() => statAt(AT_FDCWD, "n".repeat(5000) as RawPath), { code: "ENAMETOOLONG" });
  });
});

describe("statAtIfExists", () => {
  it("gives undefined where there is nothing, and throws for other reasons", (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(path.join(folder, "file"), "");
    assert.equal(statAtIfExists(AT_FDCWD, rawPathFromText(path.join(folder, "nothing"))), undefined);
    assert.equal(statAtIfExists(AT_FDCWD, rawPathFromText(path.join(folder, "file")))?.type, "file");
    assert.throws(() => statAtIfExists(AT_FDCWD, rawPathFromText(path.join(folder, "file/below"))), {
      code: "ENOTDIR",
    });
  });
});

describe("statFd", () => {
  it("tells of an open file, and throws for what is not open", () => {
    const fd = openPath("/etc/passwd" as RawPath, OPEN.READ);
    assert.deepEqual(statFd(fd), statAt(AT_FDCWD, "/etc/passwd" as RawPath));
    closeFd(fd);
    assert.throws(() => statFd(-1), { code: "EBADF" });
  });
});

describe("the platform in worker threads", () => {
  it("works in several at once", async () => {
    const modules = Object.fromEntries(
      ["stat", "open", "list-directory"].map((name) => [name, new URL(`./${name}.ts`, import.meta.url).href]),
    );
    const code = `
      import { parentPort, workerData } from "node:worker_threads";
      const { statAt } = await import(workerData.stat);
      const { openPath, closeFd, OPEN } = await import(workerData.open);
      const { listDirectory } = await import(workerData["list-directory"]);
      let names = 0;
      for (let round = 0; round < 200; round++) {
        const fd = openPath("/etc", OPEN.DIRECTORY);
        for (const name of listDirectory(fd)) { statAt(fd, name); names++; }
        closeFd(fd);
      }
      parentPort.postMessage(names / 200);
    `;
    const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
    const counts = await Promise.all(
      [1, 2, 3].map(
        () =>
          new Promise<number>((resolve, reject) => {
            const worker = new Worker(url, { workerData: modules });
            worker.once("message", resolve);
            worker.once("error", reject);
          }),
      ),
    );
    assert.equal(new Set(counts).size, 1);
    assert.ok(counts[0] > 5);
  });
});
