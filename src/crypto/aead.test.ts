import assert from "node:assert/strict";
import { createSecretKey, randomBytes } from "node:crypto";
import { test } from "node:test";
import { allocateNative, type NativeMemory } from "../platform/libc.ts";
import { SealBrokenError, open, openByNode, openInPlace, seal, sealInto } from "./aead.ts";

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

for (const [how, opener] of Object.entries({ "in the library": openInPlace, "by Node": openByNode })) {
  test(`opening in place ${how} gives back what was sealed, and touches nothing beside it`, () => {
    for (const text of [TEXT, Buffer.alloc(0), randomBytes(15), randomBytes(16), randomBytes(1_000_000)]) {
      for (const key of [KEY, createSecretKey(KEY)]) {
        const { memory, end } = memoryWith(seal(KEY, 2 ** 40 + 5, AAD, [text]));
        const length = opener(key, 2 ** 40 + 5, AAD, memory, BEFORE, end);
        assert.deepEqual(memory.bytes.subarray(BEFORE, BEFORE + length), text);
        assert.ok(memory.bytes.subarray(0, BEFORE).every((byte) => byte === 0xee));
        assert.ok(memory.bytes.subarray(end).every((byte) => byte === 0xee));
      }
    }
  });

  test(`opening in place ${how} refuses what was altered, cut, or sealed for elsewhere, and goes on with others`, () => {
    const sealed = seal(KEY, 1, AAD, [TEXT]);
    const opens = (bytes: Buffer, key = KEY, number = 1, aad = AAD): boolean => {
      const { memory, end } = memoryWith(bytes);
      try {
        opener(key, number, aad, memory, BEFORE, end);
        return true;
      } catch (error) {
        assert.ok(error instanceof SealBrokenError);
        return false;
      }
    };
    for (let at = 0; at < sealed.length; at++) {
      const altered = Buffer.from(sealed);
      altered[at] ^= 0x40;
      assert.ok(!opens(altered), `byte ${at}`);
      assert.ok(!opens(sealed.subarray(0, at)), `cut to ${at}`);
    }
    assert.ok(!opens(sealed, Buffer.from(KEY.toReversed())));
    assert.ok(!opens(sealed, KEY, 2));
    assert.ok(!opens(sealed, KEY, 1, Buffer.from("bound to that")));
    assert.ok(!opens(sealed, KEY, 1, Buffer.alloc(0)));
    assert.ok(opens(sealed));
    // What went wrong must not be taken for an error of Node's own.
    assert.deepEqual(open(KEY, 1, AAD, sealed), TEXT);
  });
}

const BEFORE = 24;

function memoryWith(bytes: Buffer): { memory: NativeMemory; end: number } {
  const end = BEFORE + bytes.length;
  const memory = allocateNative(Math.ceil((end + 16) / 8) * 8);
  memory.bytes.fill(0xee);
  memory.bytes.set(bytes, BEFORE);
  return { memory, end };
}

test("a number that is none is refused rather than used as a nonce", () => {
  for (const number of [-1, 0.5, Number.NaN, 2 ** 53]) {
    assert.throws(() => seal(KEY, number, AAD, [TEXT]), RangeError);
  }
});
