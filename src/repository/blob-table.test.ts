import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { createBlobTable, forEachBlob, frameOfBlob, insertBlob, locateBlob } from "./blob-table.ts";

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
