import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { StorageError } from "../errors.ts";
import { makeFolder, writeFileDurably } from "./write-file.ts";

test("a file is there whole, for its owner alone, and so are the folders above it", (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, "a/b/file");
  writeFileDurably(file, "one");
  writeFileDurably(file, Buffer.from("two"));
  assert.equal(readFileSync(file, "utf8"), "two");
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(path.dirname(file)).mode & 0o777, 0o700);
  assert.equal(existsSync(`${file}.new`), false);
});

test("a folder that cannot be made is told in plain words, also where the kernel never lets it be", (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(path.join(folder, "file"), "");
  mkdirSync(path.join(folder, "there"));
  makeFolder(path.join(folder, "there"));
  for (const place of ["/proc/holdfast/data", path.join(folder, "file/below"), path.join(folder, "file")]) {
    assert.throws(
      () => makeFolder(place),
      (error) => error instanceof StorageError && /^could not make the folder .*: [a-z ,]+$/.test(error.message),
    );
  }
});
