import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { DamagedError } from "../../errors.ts";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { readAhead, readStored } from "./stored-frame.ts";

test("a part of a file is read; one that is short, gone, linked or no file is damage", (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, "pack");
  writeFileSync(file, "0123456789");
  const target = Buffer.alloc(4);
  readStored(file, 3, target);
  assert.equal(target.toString(), "3456");
  const [link, pipe] = [path.join(folder, "link"), path.join(folder, "pipe")];
  symlinkSync(file, link);
  execFileSync("mkfifo", [pipe]);
  for (const [name, offset] of [
    [file, 7],
    [path.join(folder, "gone"), 0],
    [link, 0],
    [pipe, 0],
    [folder, 0],
  ] as const) {
    assert.throws(() => readStored(name, offset, target), DamagedError, name);
    readAhead(name, offset, 1_000_000);
  }
});
