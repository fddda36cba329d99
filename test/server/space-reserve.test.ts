import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { createSpaceReserve } from "../../src/server/space-reserve.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const MEBIBYTE = 1024 * 1024;

test("room is set aside while there is plenty, given up when there is none, and set aside again", (t) => {
  const file = path.join(temporaryFolder(t), "reserve");
  const disc = { totalBytes: 1000 * MEBIBYTE, freeBytes: 500 * MEBIBYTE };
  const said: string[] = [];
  const reserve = createSpaceReserve(
    file,
    (_level, message) => said.push(message),
    () => disc,
  );
  const steps: [number, boolean][] = [
    [500, true],
    [3, true],
    [2, false],
    [19, false],
    [21, true],
  ];
  for (const [freeMebibytes, isThere] of steps) {
    disc.freeBytes = freeMebibytes * MEBIBYTE;
    reserve.keep();
    assert.equal(existsSync(file), isThere, `${freeMebibytes} MiB free`);
  }
  assert.equal(statSync(file).size, 5 * MEBIBYTE);
  assert.equal(said.length, 1);
});

test("a folder that is gone stops nobody", (t) => {
  const said: string[] = [];
  createSpaceReserve(path.join(temporaryFolder(t), "gone", "reserve"), (_level, message) => said.push(message)).keep();
  assert.match(said.join(), /ENOENT/);
});
