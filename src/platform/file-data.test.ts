import assert from "node:assert/strict";
import { fstatSync, readSync, writeSync } from "node:fs";
import { describe, it, type TestContext } from "node:test";
import fc from "fast-check";
import { atEnd } from "../../test/support/at-end.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import {
  adviseDontNeed,
  adviseSequential,
  dataHoles,
  punchHole,
  startWritingOut,
  syncFd,
  truncateFd,
} from "./file-data.ts";
import { closeFd, OPEN, openPath } from "./open.ts";
import { rawPathFromText } from "./raw-path.ts";
import { processorMs } from "./testing/processor-time.ts";

function newFile(t: TestContext): number {
  const fd = openPath(rawPathFromText(`${temporaryFolder(t)}/file`), OPEN.READ_WRITE | OPEN.CREATE, 0o600);
  atEnd(t, () => closeFd(fd));
  return fd;
}

const BLOCK = 4096;
const GIBIBYTE = 2 ** 30;

describe("dataHoles", () => {
  it("finds holes at both ends and between", (t) => {
    const fd = newFile(t);
    const data = Buffer.alloc(BLOCK, 1);
    writeSync(fd, data, 0, BLOCK, 2 * BLOCK);
    writeSync(fd, data, 0, BLOCK, 5 * BLOCK);
    truncateFd(fd, 8 * BLOCK + 17);
    syncFd(fd);
    assert.deepEqual(dataHoles(fd, 8 * BLOCK + 17), [
      { offset: 0, lengthBytes: 2 * BLOCK },
      { offset: 3 * BLOCK, lengthBytes: 2 * BLOCK },
      { offset: 6 * BLOCK, lengthBytes: 2 * BLOCK + 17 },
    ]);
  });

  it("finds none in a file without holes, and none in an empty one", (t) => {
    const fd = newFile(t);
    assert.deepEqual(dataHoles(fd, 0), []);
    writeSync(fd, Buffer.alloc(10 * BLOCK, 1));
    assert.deepEqual(dataHoles(fd, 10 * BLOCK), []);
  });

  it("takes no time for 100 GiB that are one hole", (t) => {
    const fd = newFile(t);
    truncateFd(fd, 100 * GIBIBYTE);
    const start = processorMs();
    assert.deepEqual(dataHoles(fd, 100 * GIBIBYTE), [{ offset: 0, lengthBytes: 100 * GIBIBYTE }]);
    assert.ok(processorMs() - start < 1000);
  });

  it("finds data beyond 4 GiB", (t) => {
    const fd = newFile(t);
    truncateFd(fd, 9 * GIBIBYTE);
    writeSync(fd, Buffer.alloc(BLOCK, 1), 0, BLOCK, 7 * GIBIBYTE);
    assert.deepEqual(dataHoles(fd, 9 * GIBIBYTE), [
      { offset: 0, lengthBytes: 7 * GIBIBYTE },
      { offset: 7 * GIBIBYTE + BLOCK, lengthBytes: 2 * GIBIBYTE - BLOCK },
    ]);
  });

  it("stays within the size it is told, whether the file grew or was cut meanwhile", (t) => {
    const fd = newFile(t);
    truncateFd(fd, 10 * BLOCK);
    assert.deepEqual(dataHoles(fd, 3 * BLOCK), [{ offset: 0, lengthBytes: 3 * BLOCK }]);
    truncateFd(fd, BLOCK);
    for (const hole of dataHoles(fd, 5 * BLOCK)) assert.ok(hole.offset + hole.lengthBytes <= 5 * BLOCK);
  });

  it("never calls written bytes a hole", (t) => {
    const fd = newFile(t);
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(40), { maxLength: 12 }), fc.nat(BLOCK), (blocks, extra) => {
        const sizeBytes = 41 * BLOCK + extra;
        truncateFd(fd, 0);
        truncateFd(fd, sizeBytes);
        for (const block of blocks) writeSync(fd, Buffer.alloc(BLOCK, 1), 0, BLOCK, block * BLOCK);
        const holes = dataHoles(fd, sizeBytes);
        let end = -1;
        for (const hole of holes) {
          assert.ok(hole.offset > end && hole.lengthBytes > 0);
          end = hole.offset + hole.lengthBytes;
          const read = Buffer.alloc(hole.lengthBytes);
          readSync(fd, read, 0, hole.lengthBytes, hole.offset);
          assert.ok(read.every((byte) => byte === 0));
        }
        assert.ok(end <= sizeBytes);
      }),
      { numRuns: 30 },
    );
  });
});

describe("file data", () => {
  it("is cut to and lengthened by sizes over 4 GiB", (t) => {
    const fd = newFile(t);
    truncateFd(fd, 2 ** 40 + 1);
    assert.equal(fstatSync(fd).size, 2 ** 40 + 1);
    truncateFd(fd, 3);
    assert.equal(fstatSync(fd).size, 3);
  });

  it("gives space back where a hole is punched, and reads as zeros there", (t) => {
    const fd = newFile(t);
    writeSync(fd, Buffer.alloc(4 * BLOCK, 1));
    syncFd(fd);
    assert.equal(punchHole(fd, BLOCK, 2 * BLOCK), true);
    assert.deepEqual(dataHoles(fd, 4 * BLOCK), [{ offset: BLOCK, lengthBytes: 2 * BLOCK }]);
    assert.equal(fstatSync(fd).size, 4 * BLOCK);
  });

  it("is advised and written out early without changing it", (t) => {
    const fd = newFile(t);
    writeSync(fd, Buffer.from("content"));
    adviseSequential(fd);
    startWritingOut(fd, 0, 7);
    adviseDontNeed(fd, 0, 0);
    const read = Buffer.alloc(7);
    readSync(fd, read, 0, 7, 0);
    assert.equal(read.toString(), "content");
    assert.throws(() => startWritingOut(-1, 0, 1), { code: "EBADF" });
    assert.throws(() => syncFd(-1), { code: "EBADF" });
  });
});
