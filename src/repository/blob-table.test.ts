import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import {
  type BlobTable,
  claimBlob,
  createBlobTable,
  forEachBlob,
  frameOfBlob,
  insertBlob,
  locateBlob,
  PENDING_FRAME,
} from "./blob-table.ts";

/** Ids that crowd into few homes, and differ in any of the four words that are kept of them. */
const crowdedId = fc
  .tuple(fc.constantFrom(0, 1, 0x7f, 0xfe, 0xff), fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 15 }))
  .map(([first, last, place]) => {
    const id = Buffer.alloc(32, first);
    id[place] ^= last;
    return id;
  });

const nameOf = (id: Uint8Array): string => Buffer.from(id).toString("hex", 0, 16);

test("a table says of every blob what a map would, however the ids crowd", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(crowdedId, fc.nat(0x7fff_ff00), fc.nat(65_535)), { maxLength: 60 }), (blobs) => {
      const table = createBlobTable(blobs.length);
      const model = new Map<string, { frame: number; place: number }>();
      for (const [id, frame, place] of blobs) {
        insertBlob(table, id, 0, frame, place);
        // Of a blob in several frames, the first will do.
        if (!model.has(nameOf(id))) model.set(nameOf(id), { frame, place });
      }
      for (const [id] of blobs) {
        assert.deepEqual(locateBlob(table, id), model.get(nameOf(id)));
        assert.equal(frameOfBlob(table, id), model.get(nameOf(id))?.frame);
      }
      for (let byte = 0; byte < 256; byte += 5) {
        const id = Buffer.alloc(32, byte);
        assert.deepEqual(locateBlob(table, id), model.get(nameOf(id)));
      }
      assert.equal(table.used[0], model.size);
      let counted = 0;
      forEachBlob(table, () => counted++);
      assert.equal(counted, model.size);
    }),
  );
});

test("ids are looked at where they stand in a longer run of bytes", () => {
  const table = createBlobTable(4);
  const ids = randomBytes(3 * 16);
  insertBlob(table, ids, 16, 7, 9);
  assert.equal(frameOfBlob(table, ids, 16), 7);
  assert.equal(frameOfBlob(table, ids, 0), -1);
  assert.equal(frameOfBlob(table, ids, 32), -1);
});

test("a table for ten thousand blobs holds ten thousand, and each is found again", () => {
  const ids = randomBytes(10_000 * 16);
  const table = createBlobTable(10_000);
  for (let blob = 0; blob < 10_000; blob++) insertBlob(table, ids, blob * 16, blob, blob % 65_536);
  for (let blob = 0; blob < 10_000; blob++) assert.equal(frameOfBlob(table, ids, blob * 16), blob);
  assert.equal(frameOfBlob(table, randomBytes(16)), -1);
});

test("an overfull table says so, and does not search forever", () => {
  const table = createBlobTable(1);
  assert.throws(() => {
    for (let blob = 0; blob < 100; blob++) insertBlob(table, randomBytes(16), 0, blob, 0);
  }, RangeError);
  assert.equal(frameOfBlob(table, randomBytes(16)), -1);
});

test("a blob is claimed once, then known, and a full table says so of new ones only", () => {
  const table = createBlobTable(3);
  const ids = Array.from({ length: 4 }, () => randomBytes(32));
  for (const id of ids.slice(0, 3)) {
    assert.equal(claimBlob(table, id), "claimed");
    assert.equal(claimBlob(table, id), "known");
    assert.equal(frameOfBlob(table, id), PENDING_FRAME);
  }
  assert.equal(claimBlob(table, ids[3]), "full");
  assert.equal(frameOfBlob(table, ids[3]), -1);
  assert.equal(claimBlob(table, ids[0]), "known");
});

const THREADS = 4;

/** Threads that all claim the same blobs at the same time, each in an order of its own; gives who claimed how many times. */
async function claimInThreads(tables: readonly BlobTable[], ids: Uint8Array): Promise<Int32Array> {
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
  const module = new URL("./blob-table.ts", import.meta.url).href;
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
  const claims = await claimInThreads([createBlobTable(count)], ids);
  assert.deepEqual(
    claims.filter((times) => times !== 1),
    new Int32Array(0),
  );
});

test("exactly one thread claims each blob where tables run full while they claim", async () => {
  const count = 30_000;
  const ids = randomBytes(count * 32);
  // Small tables: many chances for two threads to meet at the moment when one is full.
  const tables = [...Array.from({ length: 30 }, () => createBlobTable(500)), createBlobTable(count)];
  const claims = await claimInThreads(tables, ids);
  assert.deepEqual(
    claims.filter((times) => times !== 1),
    new Int32Array(0),
  );
  // Each thread may have found room at the same moment.
  for (const { used } of tables.slice(0, 30)) assert.ok(used[0] >= 500 && used[0] < 500 + THREADS, `${used[0]}`);
});
