import assert from "node:assert/strict";
import { closeSync, linkSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import fc from "fast-check";
import { usedMemoryBytes } from "../../test/support/heap.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { listDirectory, listNames } from "./list-directory.ts";
import { closeFd, OPEN, openPath } from "./open.ts";
import { type RawPath, rawPathFromBytes, rawPathFromText } from "./raw-path.ts";

function list(folder: string): readonly string[] {
  const fd = openPath(rawPathFromText(folder), OPEN.READ | OPEN.DIRECTORY);
  try {
    return listDirectory(fd);
  } finally {
    closeFd(fd);
  }
}

const fileName = fc
  .uint8Array({ minLength: 1, maxLength: 255 })
  .map((bytes) => bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0xff : byte)))
  .filter((bytes) => !(bytes[0] === 0x2e && (bytes.length === 1 || (bytes.length === 2 && bytes[1] === 0x2e))));

function listInRuns(folder: string, askedAbout: readonly RawPath[], runNames: number) {
  const fd = openPath(rawPathFromText(folder), OPEN.READ | OPEN.DIRECTORY);
  try {
    const { names, found, close } = listNames(fd, askedAbout, runNames);
    const all: RawPath[] = [];
    for (; names.next !== undefined; names.advance()) all.push(names.next);
    close();
    return { all, found };
  } finally {
    closeFd(fd);
  }
}

describe("listNames", () => {
  it("gives the same, however few names are sorted at a time", (t) => {
    const folder = temporaryFolder(t);
    let round = 0;
    const names = fc.uniqueArray(fileName, { maxLength: 40, selector: rawPathFromBytes });
    fc.assert(
      fc.property(names, fc.integer({ min: 1, max: 45 }), (wanted, runNames) => {
        const inner = `${folder}/${round++}`;
        mkdirSync(inner);
        for (const name of wanted) closeSync(openSync(Buffer.concat([Buffer.from(`${inner}/`), name]), "wx"));
        const expected = [...wanted].sort((a, b) => Buffer.compare(a, b)).map((name) => rawPathFromBytes(name));
        const asked = [...expected.slice(0, 3), "is not there" as RawPath];
        const { all, found } = listInRuns(inner, asked, runNames);
        assert.deepEqual(all, expected);
        assert.deepEqual([...found].sort(), expected.slice(0, 3));
      }),
      { numRuns: 50 },
    );
  });

  it("gives nothing for an empty folder", (t) => {
    assert.deepEqual(listInRuns(temporaryFolder(t), ["a" as RawPath], 1), { all: [], found: [] });
  });
});

describe("listDirectory", () => {
  it("gives all names, of any bytes and any length, sorted by bytes", (t) => {
    const folder = temporaryFolder(t);
    let round = 0;
    fc.assert(
      fc.property(fc.uniqueArray(fileName, { maxLength: 40, selector: rawPathFromBytes }), (names) => {
        const inner = `${folder}/${round++}`;
        mkdirSync(inner);
        for (const name of names) closeSync(openSync(Buffer.concat([Buffer.from(`${inner}/`), name]), "wx"));
        const expected = [...names].sort((a, b) => Buffer.compare(a, b)).map((name) => rawPathFromBytes(name));
        assert.deepEqual(list(inner), expected);
      }),
      { numRuns: 50 },
    );
  });

  it("gives nothing for an empty folder", (t) => {
    assert.deepEqual(list(temporaryFolder(t)), []);
  });

  it("keeps names that begin with dots, other than the two that every folder has", (t) => {
    const folder = temporaryFolder(t);
    for (const name of ["...", "..a", ".a", ".-"]) writeFileSync(`${folder}/${name}`, "");
    assert.deepEqual(list(folder), [".-", "...", "..a", ".a"]);
  });

  it("refuses what is no directory", () => {
    const fd = openPath("/etc/passwd" as never, OPEN.READ);
    assert.throws(() => listDirectory(fd), { code: "ENOTDIR" });
    closeFd(fd);
  });

  it("holds little more than the names of a large folder", { timeout: 120_000 }, (t) => {
    const folder = temporaryFolder(t);
    const count = 200_000;
    // Links are made faster than files; ext4 takes 65,000 of one file.
    for (let index = 0; index < count; index++) {
      if (index % 50_000 === 0) writeFileSync(`${folder}/file-${index}`, "");
      else linkSync(`${folder}/file-${index - (index % 50_000)}`, `${folder}/file-${index}`);
    }
    const before = usedMemoryBytes();
    const names = list(folder);
    const grownBytes = usedMemoryBytes() - before;
    assert.equal(names.length, count);
    assert.ok(grownBytes < count * 60, `${Math.round(grownBytes / count)} bytes a name`);
  });
});
