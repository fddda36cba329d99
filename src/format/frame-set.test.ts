import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { decodeFrameSet, encodeFrameSet } from "./frame-set.ts";
import { anyId } from "./testing/arbitraries.ts";
import { assertChangesAreHarmless, decodesOrNames } from "./testing/hostile.ts";
import { processorMs } from "../platform/testing/processor-time.ts";

const A = Buffer.alloc(32, 0x11);
const B = Buffer.alloc(32, 0x22);

/** Every frame of an encoded set, as text. */
function namesIn(bytes: Buffer): string[] {
  const { originCount, origins, rangeStarts, firsts, counts } = decodeFrameSet(bytes);
  const names: string[] = [];
  for (let index = 0; index < originCount; index++) {
    const origin = origins.toString("hex", index * 32, index * 32 + 32);
    for (let range = rangeStarts[index]; range < rangeStarts[index + 1]; range++) {
      for (let step = 0; step < counts[range]; step++) names.push(`${origin}/${firsts[range] + step}`);
    }
  }
  return names;
}

test("the frames of any set come back, by ascending origin and number", () => {
  const number = fc.oneof(fc.nat(40), fc.nat(2 ** 31 - 1), fc.constant(2 ** 31 - 1));
  const origin = fc.tuple(anyId, fc.uniqueArray(number, { maxLength: 30 }));
  fc.assert(
    fc.property(fc.uniqueArray(origin, { selector: ([id]) => id.toString("hex"), maxLength: 10 }), (list) => {
      const encoded = encodeFrameSet(
        list.map(([id, numbers]) => ({ origin: id, numbers: Uint32Array.from(numbers).sort() })),
      );
      const expected = list
        .toSorted(([a], [b]) => Buffer.compare(a, b))
        .flatMap(([id, numbers]) => numbers.toSorted((a, b) => a - b).map((each) => `${id.toString("hex")}/${each}`));
      assert.deepEqual(namesIn(encoded), expected);
    }),
  );
});

// A change here is a change of format: see docs/format.md, "Snapshot record".
test("a frame set has the bytes that the format says, from numbers and from ranges", () => {
  const hex = `02${"11".repeat(32)}010003${"22".repeat(32)}0205018201ac02`;
  const numbers = Uint32Array.from([5, ...Array.from({ length: 300 }, (_, index) => 136 + index)]);
  const fromNumbers = encodeFrameSet([
    { origin: B, numbers },
    { origin: A, numbers: Uint32Array.from([0, 1, 1, 2]) },
  ]);
  const fromRanges = encodeFrameSet([
    { origin: A, ranges: Uint32Array.from([0, 3]) },
    { origin: B, ranges: Uint32Array.from([5, 1, 136, 300]) },
  ]);
  assert.equal(fromNumbers.toString("hex"), hex);
  assert.equal(fromRanges.toString("hex"), hex);
});

test("an empty set is one byte, and origins without frames are left out", () => {
  assert.equal(encodeFrameSet([]).toString("hex"), "00");
  assert.equal(encodeFrameSet([{ origin: A, numbers: new Uint32Array(0) }]).toString("hex"), "00");
  assert.deepEqual(namesIn(Buffer.from([0])), []);
});

test("numbers out of order are not written", () => {
  assert.throws(() => encodeFrameSet([{ origin: A, numbers: Uint32Array.from([3, 1]) }]), RangeError);
});

test("a thousand sets of a thousand frames decode in moments", () => {
  const origins = Array.from({ length: 16 }, () => ({
    origin: randomBytes(32),
    numbers: Uint32Array.from({ length: 64 }, (_, index) => index),
  }));
  const encoded = encodeFrameSet(origins);
  decodeFrameSet(encoded);
  const start = processorMs();
  for (let round = 0; round < 1000; round++) decodeFrameSet(encoded);
  const tookMs = processorMs() - start;
  assert.ok(tookMs < 1000, `${tookMs} ms`);
});

test("altered, cut and lengthened sets do no harm", () => {
  const encoded = encodeFrameSet([
    { origin: A, numbers: Uint32Array.from([1, 2, 9]) },
    { origin: B, numbers: Uint32Array.from([0, 200]) },
  ]);
  assertChangesAreHarmless((bytes) => decodeFrameSet(bytes), encoded);
});

const REFUSED: [string, string, RegExp][] = [
  ["origins out of order", `02${"22".repeat(32)}010001${"11".repeat(32)}010001`, /out of order/],
  ["an origin twice", `02${"22".repeat(32)}010001${"22".repeat(32)}010001`, /out of order/],
  ["an empty range", `01${"22".repeat(32)}010000`, /impossible/],
  ["ranges that touch", `01${"22".repeat(32)}0200010001`, /touch/],
  ["numbers of 2^31", `01${"22".repeat(32)}01ffffffff0702`, /impossible/],
  ["more origins than it holds", "ffffff7f", /can hold/],
  ["more ranges than it holds", `01${"22".repeat(32)}ffffff7f`, /can hold/],
];

for (const [name, hex, message] of REFUSED) {
  test(`a frame set with ${name} is refused by name`, () => {
    const bytes = Buffer.from(hex, "hex");
    assert.throws(() => decodeFrameSet(bytes, "snapshot 12"), message);
    assert.equal(
      decodesOrNames((given) => decodeFrameSet(given), bytes),
      false,
    );
  });
}

test("the largest range is one step, not two thousand million", () => {
  const bytes = Buffer.from(`01${"22".repeat(32)}01008080808008`, "hex");
  const start = processorMs();
  const set = decodeFrameSet(bytes);
  assert.deepEqual(set.counts, Uint32Array.from([2 ** 31]));
  assert.ok(processorMs() - start < 1000);
});
