import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { openNamelessFile } from "../platform/spill-file.ts";
import { createBlobTable } from "./blob-table.ts";
import { bytesInFile, isInFile, isPutAway, putAway } from "./claim-file.ts";
import { claimBlob } from "./claim-table.ts";
import { claimForStoring, type ClaimStep, createClaimStep, isClaimed, type SessionBlobs } from "./session-blobs.ts";

function stepsInFile(capacities: readonly number[], fd: number | undefined): ClaimStep[] {
  let end = 0;
  return capacities.map((capacity) => {
    const step = createClaimStep(capacity, fd, end);
    end += bytesInFile(step.table);
    return step;
  });
}

const sessionOf = (claimed: readonly ClaimStep[], fd: number | undefined): SessionBlobs => ({
  base: createBlobTable(0),
  claimed,
  fd,
});

const idsOf = (bytes: Uint8Array): Uint8Array[] =>
  Array.from({ length: bytes.length / 32 }, (_, number) => bytes.subarray(number * 32, number * 32 + 32));

test("a table that was put away still knows its blobs, and is gone from memory", () => {
  const fd = openNamelessFile();
  assert.ok(fd !== undefined);
  const [{ table, file }] = stepsInFile([50_000], fd);
  assert.ok(file !== undefined);
  const ids = idsOf(randomBytes(50_000 * 32));
  for (const id of ids) assert.equal(claimBlob(table, id), "claimed");
  putAway(table, file);
  assert.ok(isPutAway(file));
  // What is left are the pages at both ends, which it may share with others.
  assert.ok(table.words.filter((word) => word !== 0).length < 0.3 * table.words.length);
  for (const id of ids) {
    assert.ok(isInFile(file, id));
    for (const word of [0, 4, 8, 12]) {
      const other = Uint8Array.from(id);
      other[word + 2] ^= 4;
      assert.ok(!isInFile(file, other));
    }
  }
  closeSync(fd);
});

test("claims go on while tables are put away, and all of them are remembered", () => {
  const fd = openNamelessFile();
  assert.ok(fd !== undefined);
  const steps = stepsInFile([3, 700, 5000, 20_000, 1000], fd);
  const blobs = sessionOf(steps, fd);
  const ids = idsOf(randomBytes(26_000 * 32));
  for (const [number, id] of ids.entries()) {
    assert.equal(isClaimed(blobs, id), false);
    assert.equal(claimForStoring(blobs, id), true);
    assert.equal(claimForStoring(blobs, ids[Math.floor(number / 2)]), false);
  }
  for (const id of ids) {
    assert.equal(isClaimed(blobs, id), true);
    assert.equal(claimForStoring(blobs, id), false);
  }
  assert.deepEqual(
    steps.map(({ file }) => file !== undefined && isPutAway(file)),
    [true, true, true, true, false],
  );
  closeSync(fd);
});

test("where the file takes nothing, tables stay in memory", () => {
  const full = openSync("/dev/full", "r+");
  const blobs = sessionOf(stepsInFile([100, 5000], full), full);
  const ids = idsOf(randomBytes(3000 * 32));
  for (const id of ids) assert.equal(claimForStoring(blobs, id), true);
  for (const id of ids) {
    assert.equal(isClaimed(blobs, id), true);
    assert.equal(claimForStoring(blobs, id), false);
  }
  assert.ok(blobs.claimed.every(({ file }) => file !== undefined && !isPutAway(file)));
  closeSync(full);
});

test("a table that is put away in the midst of a search is searched again in the file", () => {
  const fd = openNamelessFile();
  assert.ok(fd !== undefined);
  const ids = idsOf(randomBytes(20_000 * 32));
  const search = (look: (blobs: SessionBlobs, id: Uint8Array) => boolean, id: Uint8Array): boolean => {
    const [{ table, file }, next] = stepsInFile([20_000, 10], fd);
    for (const known of ids) assert.equal(claimBlob(table, known), "claimed");
    const emptiedWhenRead = {
      ...table,
      get words() {
        if (file !== undefined) putAway(table, file);
        return table.words;
      },
    };
    return look(sessionOf([{ table: emptiedWhenRead, file }, next], fd), id);
  };
  assert.equal(search(claimForStoring, ids[12_345]), false);
  assert.equal(search(isClaimed, ids[12_345]), true);
  assert.equal(search(claimForStoring, randomBytes(32)), true);
  assert.equal(search(isClaimed, randomBytes(32)), false);
  closeSync(fd);
});

const THREADS = 4;

test("exactly one thread claims each blob where tables are put away while they claim", async () => {
  const fd = openNamelessFile();
  assert.ok(fd !== undefined);
  const count = 120_000;
  const ids = randomBytes(count * 32);
  // Large enough that most of their memory is emptied; and some that run full at every moment.
  const steps = stepsInFile([...Array.from({ length: 20 }, () => 100), 10_000, 10_000, 40_000, count], fd);
  const blobs = sessionOf(steps, fd);
  const claims = new Int32Array(new SharedArrayBuffer(count * 4));
  const start = new Int32Array(new SharedArrayBuffer(4));
  const code = `
    import { workerData } from "node:worker_threads";
    const { claimForStoring, isClaimed } = await import(workerData.module);
    const { blobs, ids, claims, start, step } = workerData;
    Atomics.add(start, 0, 1);
    while (Atomics.load(start, 0) < ${THREADS});
    const count = ids.length / 32;
    for (let turn = 0, blob = 0; turn < count; turn++, blob = (blob + step) % count) {
      const id = ids.subarray(blob * 32, blob * 32 + 32);
      if (claimForStoring(blobs, id)) Atomics.add(claims, blob, 1);
      if (!isClaimed(blobs, id)) throw new Error("a blob was forgotten");
    }`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const module = new URL("./session-blobs.ts", import.meta.url).href;
  const ended = Array.from({ length: THREADS }, (_, number) => {
    // All the same order for two of them, to meet at every blob.
    const step = [1, 1, 7, count - 1][number];
    const worker = new Worker(url, { workerData: { module, blobs, ids, claims, start, step } });
    return new Promise<void>((resolve, reject) => {
      worker.on("error", reject);
      worker.on("exit", () => resolve());
    });
  });
  await Promise.all(ended);
  assert.deepEqual(
    claims.filter((times) => times !== 1),
    new Int32Array(0),
  );
  assert.ok(steps.slice(0, -1).every(({ file }) => file !== undefined && isPutAway(file)));
  closeSync(fd);
});
