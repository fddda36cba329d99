import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { SealBrokenError, open, seal, sealInto } from "./aead.ts";

const KEY = Buffer.from("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "hex");
const AAD = Buffer.from("bound to this");
const TEXT = Buffer.from("what is sealed");

test("opening gives back what was sealed, in whatever parts it came", () => {
  for (const parts of [
    [TEXT],
    [TEXT.subarray(0, 3), TEXT.subarray(3)],
    [],
    [Buffer.alloc(0)],
    [randomBytes(100_000)],
  ]) {
    const sealed = seal(KEY, 5, AAD, parts);
    assert.equal(sealed.length, Buffer.concat(parts).length + 16);
    assert.deepEqual(open(KEY, 5, AAD, sealed), Buffer.concat(parts));
  }
});

test("sealing gives the published value of the GCM specification", () => {
  // McGrew and Viega, "The Galois/Counter Mode of Operation", test case 14: key, nonce and one block of zeros.
  const sealed = seal(Buffer.alloc(32), 0, Buffer.alloc(0), [Buffer.alloc(16)]);
  assert.equal(sealed.toString("hex"), "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
});

test("the nonce is the number in 12 bytes, big-endian", () => {
  const subtleIv = Buffer.from("000000000000000a0b0c0d0e", "hex");
  return crypto.subtle
    .importKey("raw", KEY, "AES-GCM", false, ["encrypt"])
    .then((key) => crypto.subtle.encrypt({ name: "AES-GCM", iv: subtleIv, additionalData: AAD }, key, TEXT))
    .then((expected) => assert.deepEqual(seal(KEY, 0x0a_0b0c_0d0e, AAD, [TEXT]), Buffer.from(expected)));
});

test("each number, key and binding gives other bytes, and opens nothing but its own", () => {
  const otherKey = Buffer.from(KEY.toReversed());
  const sealed = seal(KEY, 1, AAD, [TEXT]);
  for (const [key, number, aad] of [
    [otherKey, 1, AAD],
    [KEY, 2, AAD],
    [KEY, 2 ** 32 + 1, AAD],
    [KEY, 1, Buffer.from("bound to that")],
  ] as const) {
    assert.notDeepEqual(seal(key, number, aad, [TEXT]), sealed);
    assert.throws(() => open(key, number, aad, sealed), SealBrokenError);
  }
});

test("any altered, missing or added byte breaks the seal", () => {
  const sealed = seal(KEY, 1, AAD, [TEXT]);
  for (let at = 0; at < sealed.length; at++) {
    const altered = Buffer.from(sealed);
    altered[at] ^= 0x40;
    assert.throws(() => open(KEY, 1, AAD, altered), SealBrokenError);
    assert.throws(() => open(KEY, 1, AAD, sealed.subarray(0, at)), SealBrokenError);
  }
  assert.throws(() => open(KEY, 1, AAD, Buffer.concat([sealed, Buffer.alloc(1)])), SealBrokenError);
});

test("sealing into a buffer touches only its own place", () => {
  const target = Buffer.alloc(4 + TEXT.length + 16 + 4, 0xee);
  const end = sealInto(target, 4, KEY, 9, AAD, [TEXT]);
  assert.equal(end, target.length - 4);
  assert.deepEqual(target.subarray(4, end), seal(KEY, 9, AAD, [TEXT]));
  assert.equal(target.toString("hex", 0, 4) + target.toString("hex", end), "eeeeeeeeeeeeeeee");
});

test("a number that is none is refused rather than used as a nonce", () => {
  for (const number of [-1, 0.5, Number.NaN, 2 ** 53]) {
    assert.throws(() => seal(KEY, number, AAD, [TEXT]), RangeError);
  }
});
