import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { rawPathFromText } from "../platform/raw-path.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { startScan } from "./scan.ts";

test("counts files and bytes of what a backup would save", async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(path.join(folder, "sub"));
  writeFileSync(path.join(folder, "a"), "12345");
  writeFileSync(path.join(folder, "sub/b"), "123");
  writeFileSync(path.join(folder, "sub/c.iso"), "1234567");
  const scan = startScan({ paths: [rawPathFromText(folder)], excludes: ["*.iso"] });
  for (let tries = 0; scan.total() === undefined && tries < 200; tries++) await wait(50);
  assert.deepEqual(scan.total(), { files: 2, bytes: 8 });
  await scan.stop();
});

test("tells nothing where there is nothing, and harms nobody", async (t) => {
  const scan = startScan({ paths: [rawPathFromText(path.join(temporaryFolder(t), "nothing"))] });
  await wait(500);
  assert.equal(scan.total(), undefined);
  await scan.stop();
  await scan.stop();
});
