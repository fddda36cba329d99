import assert from "node:assert/strict";
import { test } from "node:test";
import { progressLines } from "./progress.ts";

const MIB = 1024 ** 2;

test("says how far it is, how fast, and how long it will still take", () => {
  const state = { filesDone: 1234, bytesDone: 100 * MIB, totalBytes: 400 * MIB, errors: 1, current: ["/a"] };
  assert.deepEqual(progressLines(state, 10_000), [
    "[0:10] 25.0%  1,234 files, 100.000 MiB of 400.000 MiB, 10.000 MiB/s, 1 error, 0:30 left",
    "  /a",
  ]);
});

test("promises nothing where the total is unknown, or in the first moments", () => {
  assert.deepEqual(progressLines({ filesDone: 1, bytesDone: MIB }, 1000), ["[0:01]  1 files, 1.000 MiB, 1.000 MiB/s"]);
  const [line] = progressLines({ filesDone: 1, bytesDone: MIB, totalBytes: 2 * MIB }, 500);
  assert.ok(!line.includes("left"));
});

test("an estimate that is overtaken stays below a hundred percent", () => {
  const [line] = progressLines({ filesDone: 9, bytesDone: 9 * MIB, totalBytes: 2 * MIB }, 9000);
  assert.match(line, /99\.9%/);
});
