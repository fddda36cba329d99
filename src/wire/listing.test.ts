import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ProtocolError } from "../errors.ts";
import {
  applyBuckets,
  bucketHashes,
  buildListing,
  encodeBucketCount,
  type Listing,
  missingBuckets,
  objectsOf,
} from "./listing.ts";
import type { ListedObject } from "./storage-calls.ts";

const hex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((array) => Buffer.from(array).toString("hex"));
const rest = fc.oneof(
  hex(32),
  hex(32).map((digits) => `${digits.slice(0, 2)}/${digits}`),
  hex(16),
  fc.stringMatching(/^[a-z][a-z0-9.-]{0,20}$/),
);
const listed: fc.Arbitrary<ListedObject[]> = fc.uniqueArray(
  fc.record(
    { name: rest.map((name) => `x/${name}`), sizeBytes: fc.maxSafeNat(), modifiedMs: fc.nat() },
    { noNullPrototype: true },
  ),
  { selector: ({ name }) => name, maxLength: 40 },
);

function transfer(held: Listing | undefined, current: Listing): { listing: Listing; bytes: number } {
  const sent = Buffer.concat([...missingBuckets(current, held === undefined ? [] : bucketHashes(held))]);
  return { listing: applyBuckets(current.prefix, held, encodeBucketCount(current), sent), bytes: sent.length };
}

function sorted(objects: readonly ListedObject[]): ListedObject[] {
  return objects.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

test("an agent comes to hold what there is, whatever it held before", () => {
  fc.assert(
    fc.property(listed, listed, (before, now) => {
      const held = transfer(undefined, buildListing("x/", before)).listing;
      assert.deepEqual(sorted(objectsOf(held)), sorted(before));
      const current = buildListing("x/", now);
      assert.deepEqual(sorted(objectsOf(transfer(held, current).listing)), sorted(now));
      assert.equal(transfer(current, current).bytes, 0);
    }),
  );
});

function packs(count: number, from = 0): ListedObject[] {
  return Array.from({ length: count }, (_, number) => {
    const digits =
      Buffer.from(String(from + number))
        .toString("hex")
        .padStart(62, "0") + ((from + number) % 256).toString(16).padStart(2, "0");
    return { name: `packs/${digits.slice(0, 2)}/${digits}`, sizeBytes: 16_000_000, modifiedMs: 1_760_000_000_000 };
  });
}

test("one pack more among 60,000 costs a few kilobytes, and goes both ways over the border between 1 and 256 parts", () => {
  const many = packs(60_000);
  const held = transfer(undefined, buildListing("packs/", many)).listing;
  const { listing, bytes } = transfer(held, buildListing("packs/", [...many, ...packs(1, 60_000)]));
  assert.equal(objectsOf(listing).length, 60_001);
  assert.ok(bytes < 15_000, `${bytes} bytes`);
  const few = transfer(listing, buildListing("packs/", packs(3))).listing;
  assert.equal(objectsOf(few).length, 3);
  assert.equal(objectsOf(transfer(few, buildListing("packs/", many)).listing).length, 60_000);
});

test("refuses parts that there are not, and a listing with parts missing", () => {
  const one = encodeBucketCount({ prefix: "", buckets: [Buffer.alloc(0)] });
  assert.throws(() => applyBuckets("", undefined, one, Buffer.from([1, 0])), ProtocolError);
  assert.throws(() => applyBuckets("", undefined, one, Buffer.alloc(0)), /a part of a listing is missing/);
  assert.throws(() => applyBuckets("", undefined, Buffer.from([7]), Buffer.alloc(0)), /in 7 parts/);
  assert.throws(() => objectsOf({ prefix: "", buckets: [Buffer.from([9])] }), /a name of kind 9/);
});
