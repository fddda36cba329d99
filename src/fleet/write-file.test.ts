import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { writeFileDurably } from "./write-file.ts";

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
