import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync, fstatSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import * as fc from "fast-check";
import { hasHoles, isZero, makeHoles, readExactly, writeAt, writeSparselyAt } from "./file-content.ts";

const KIBIBYTE = 1024;
const folder = mkdtempSync(path.join(tmpdir(), "holdfast-content-"));
after(() => rmSync(folder, { recursive: true }));

function withFile<T>(sizeBytes: number, use: (fd: number, file: string) => T): T {
  const file = path.join(folder, "file");
  const fd = openSync(file, "w+");
  try {
    ftruncateSync(fd, sizeBytes);
    return use(fd, file);
  } finally {
    closeSync(fd);
  }
}

test("bytes written sparsely read as those written plainly, wherever zeros lie in them", () => {
  const run = fc.record({ zero: fc.boolean(), length: fc.integer({ min: 1, max: 3 * 4096 }) });
  fc.assert(
    fc.property(fc.array(run, { maxLength: 8 }), fc.nat(9000), (runs, offset) => {
      const bytes = Buffer.concat(runs.map(({ zero, length }) => Buffer.alloc(length, zero ? 0 : 7)));
      withFile(offset + bytes.length, (fd, file) => {
        const written = writeSparselyAt(fd, bytes, offset);
        assert.ok(written <= bytes.length);
        assert.ok(readFileSync(file).equals(Buffer.concat([Buffer.alloc(offset), bytes])));
      });
    }),
    { numRuns: 200 },
  );
});

test("whole blocks of zeros are not written", () => {
  withFile(64 * KIBIBYTE, (fd) => {
    assert.equal(writeSparselyAt(fd, Buffer.alloc(64 * KIBIBYTE), 0), 0);
    const bytes = Buffer.alloc(12 * KIBIBYTE);
    bytes[100] = 1;
    assert.equal(writeSparselyAt(fd, bytes, 4 * KIBIBYTE), 4 * KIBIBYTE);
    // What is not a whole block of the file is written.
    assert.equal(writeSparselyAt(fd, Buffer.alloc(4 * KIBIBYTE), 100), 4 * KIBIBYTE);
  });
});

test("zeros are told from anything else at every length around the buffer they are compared with", () => {
  for (const length of [0, 1, 64 * KIBIBYTE - 1, 64 * KIBIBYTE, 64 * KIBIBYTE + 1, 200 * KIBIBYTE]) {
    const bytes = Buffer.alloc(length);
    assert.equal(isZero(bytes), true);
    if (length === 0) continue;
    bytes[length - 1] = 1;
    assert.equal(isZero(bytes), false);
  }
});

test("a file that ends too early is noticed", () => {
  withFile(100, (fd) => {
    assert.equal(readExactly(fd, Buffer.alloc(100), 0), true);
    assert.equal(readExactly(fd, Buffer.alloc(100), 1), false);
  });
});

const HOLES = [
  { offset: 0, lengthBytes: 1024 * KIBIBYTE },
  { offset: 2048 * KIBIBYTE, lengthBytes: 3072 * KIBIBYTE },
];
const SIZE_BYTES = 6144 * KIBIBYTE;

test("holes that are there are found, and so are zeros of little length in their place", () => {
  withFile(SIZE_BYTES, (fd) => {
    assert.equal(hasHoles(fd, HOLES, SIZE_BYTES), true);
    writeAt(fd, Buffer.alloc(8 * KIBIBYTE), 2048 * KIBIBYTE);
    assert.equal(hasHoles(fd, HOLES, SIZE_BYTES), true);
    writeAt(fd, Buffer.from("x"), 3000 * KIBIBYTE);
    assert.equal(hasHoles(fd, HOLES, SIZE_BYTES), false);
  });
});

test("a long run of written zeros does not pass for a hole", () => {
  withFile(SIZE_BYTES, (fd) => {
    writeAt(fd, Buffer.alloc(2048 * KIBIBYTE), 2048 * KIBIBYTE);
    assert.equal(hasHoles(fd, HOLES, SIZE_BYTES), false);
  });
});

test("holes are made where data is, and nothing else is touched", () => {
  withFile(0, (fd, file) => {
    writeAt(fd, Buffer.alloc(SIZE_BYTES, 7), 0);
    makeHoles(fd, HOLES, SIZE_BYTES);
    const expected = Buffer.alloc(SIZE_BYTES, 7);
    for (const { offset, lengthBytes } of HOLES) expected.fill(0, offset, offset + lengthBytes);
    assert.ok(readFileSync(file).equals(expected));
    assert.equal(hasHoles(fd, HOLES, SIZE_BYTES), true);
    assert.ok(fstatSync(fd).blocks * 512 <= 2048 * KIBIBYTE);
  });
});
