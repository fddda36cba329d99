import assert from "node:assert/strict";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { StorageError } from "../errors.ts";
import { makeFolder } from "./make-folder.ts";

test("a folder is made once, with those above it, for its owner alone", (t) => {
  const folder = path.join(temporaryFolder(t), "a/b");
  assert.equal(makeFolder(folder), true);
  assert.equal(makeFolder(folder), false);
  assert.equal(statSync(path.dirname(folder)).mode & 0o777, 0o700);
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
