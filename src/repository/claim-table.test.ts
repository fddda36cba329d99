import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { claimBlob, type ClaimTable, createClaimTable, isClaimedIn } from "./claim-table.ts";

test("ids that differ anywhere but in two bits are different blobs, however they crowd", () => {
  const ids = Array.from({ length: 16 * 8 - 2 }, (_, bit) => {
    const id = Buffer.alloc(32);
    // The two bits in which a slot's state stands.
    const at = bit < 12 * 8 ? bit : bit + 2;
    id[at >>> 3] = 1 << (at & 7);
    return id;
  });
  const table = createClaimTable(ids.length + 1);
  for (const id of [Buffer.alloc(32), ...ids]) {
    assert.equal(isClaimedIn(table, id), false);
    assert.equal(claimBlob(table, id), "claimed");
  }
  for (const id of ids) assert.equal(claimBlob(table, id), "known");
  assert.equal(table.used[0], ids.length + 1);
});

test("a blob is claimed once, then known, and a full table says so of new ones only", () => {
  const table = createClaimTable(3);
  const ids = Array.from({ length: 4 }, () => randomBytes(32));
  for (const id of ids.slice(0, 3)) {
    assert.equal(claimBlob(table, id), "claimed");
    assert.equal(claimBlob(table, id), "known");
    assert.equal(isClaimedIn(table, id), true);
  }
  assert.equal(claimBlob(table, ids[3]), "full");
  assert.equal(isClaimedIn(table, ids[3]), false);
  assert.equal(claimBlob(table, ids[0]), "known");
});

const THREADS = 4;

/** Threads that all claim the same blobs at the same time, each in an order of its own; gives who claimed how many times. */
async function claimInThreads(tables: readonly ClaimTable[], ids: Uint8Array): Promise<Int32Array> {
  const count = ids.length / 32;
  const claims = new Int32Array(new SharedArrayBuffer(count * 4));
  const start = new Int32Array(new SharedArrayBuffer(4));
  const code = `
    import { workerData } from "node:worker_threads";
    const { claimBlob } = await import(workerData.module);
    const { tables, ids, claims, start, step } = workerData;
    Atomics.add(start, 0, 1);
    while (Atomics.load(start, 0) < ${THREADS});
    const count = ids.length / 32;
    for (let turn = 0, blob = 0; turn < count; turn++, blob = (blob + step) % count) {
      const id = ids.subarray(blob * 32, blob * 32 + 32);
      for (const table of tables) {
        const claim = claimBlob(table, id);
        if (claim === "claimed") Atomics.add(claims, blob, 1);
        if (claim !== "full") break;
      }
    }`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const module = new URL("./claim-table.ts", import.meta.url).href;
  const ended = Array.from({ length: THREADS }, (_, number) => {
    // All the same order for two of them, to meet at every blob.
    const step = [1, 1, 7, count - 1][number];
    const worker = new Worker(url, { workerData: { module, tables, ids, claims, start, step } });
    return new Promise<void>((resolve, reject) => {
      worker.on("error", reject);
      worker.on("exit", () => resolve());
    });
  });
  await Promise.all(ended);
  return claims;
}

test("of several threads, exactly one claims each blob", async () => {
  const count = 50_000;
  const ids = randomBytes(count * 32);
  const claims = await claimInThreads([createClaimTable(count)], ids);
  assert.deepEqual(
    claims.filter((times) => times !== 1),
    new Int32Array(0),
  );
});

test("exactly one thread claims each blob where tables run full while they claim", async () => {
  const count = 30_000;
  const ids = randomBytes(count * 32);
  // Small tables: many chances for two threads to meet at the moment when one is full.
  const tables = [...Array.from({ length: 30 }, () => createClaimTable(500)), createClaimTable(count)];
  const claims = await claimInThreads(tables, ids);
  assert.deepEqual(
    claims.filter((times) => times !== 1),
    new Int32Array(0),
  );
  // Each thread may have found room at the same moment.
  for (const { used } of tables.slice(0, 30)) assert.ok(used[0] >= 500 && used[0] < 500 + THREADS, `${used[0]}`);
});
