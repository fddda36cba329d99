import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync, chmodSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { openAccountRepository } from "./accounts.ts";
import { dataFile } from "./data-folder.ts";
import { drill } from "./drill.ts";
import { backUp, enrolledHost, START_MS, testFleet } from "./testing/fleet.ts";

function sequence(): () => number {
  let state = 12345;
  return () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
}

test("a drill restores files of a snapshot and finds them as they were", async (t) => {
  const fleet = await testFleet(t);
  await enrolledHost(fleet, "web");
  const files = Object.fromEntries(
    Array.from({ length: 30 }, (_, n) => [`d${n % 4}/f${n}`, `content ${n}`.repeat(n * 100)]),
  );
  const snapshotId = await backUp(t, fleet, { host: "web", atMs: START_MS, files: { ...files, empty: "" } });
  const repository = await openAccountRepository(fleet.folder, fleet.created.account);
  const scratchFolder = dataFile.scratch(fleet.folder);
  const options = { repository, snapshotId, scratchFolder, files: 20, maximumBytes: 1e9, random: sequence() };
  const result = await drill(options);
  assert.deepEqual(result.problems, []);
  assert.ok(result.files >= 8);
  assert.ok(result.bytes > 1000);
  assert.deepEqual(readdirSync(scratchFolder), []);
});

test("a drill names what does not come back", async (t) => {
  const fleet = await testFleet(t);
  await enrolledHost(fleet, "web");
  const snapshotId = await backUp(t, fleet, { host: "web", atMs: START_MS, files: { only: "x".repeat(100_000) } });
  const packs = path.join(fleet.created.account.storageUrl, "packs");
  for (const name of readdirSync(packs, { recursive: true, encoding: "utf8" }).filter((file) => file.length > 60)) {
    const file = path.join(packs, name);
    const bytes = readFileSync(file);
    // In the middle of the frame of data, which is by far the longest part.
    bytes.fill(0, 2000, 50_000);
    chmodSync(file, 0o600);
    writeFileSync(file, bytes);
  }
  const repository = await openAccountRepository(fleet.folder, fleet.created.account);
  const scratchFolder = dataFile.scratch(fleet.folder);
  const result = await drill({
    repository,
    snapshotId,
    scratchFolder,
    files: 3,
    maximumBytes: 1e9,
    random: sequence(),
  });
  assert.ok(result.problems.length > 0);
});
