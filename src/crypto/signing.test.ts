import assert from "node:assert/strict";
import { test } from "node:test";
import { generateSigningKey, sign, signingKeyFromSeed, verify } from "./signing.ts";

const MESSAGE = Buffer.from("a snapshot");

test("signing gives the published value of RFC 8032", () => {
  // 7.1, test 2.
  const key = signingKeyFromSeed(
    Buffer.from("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "hex"),
  );
  assert.equal(key.publicKey.toString("hex"), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  assert.equal(
    sign(key, Buffer.from([0x72])).toString("hex"),
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" +
      "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  );
});

test("a signature is of one message by one key", () => {
  const key = generateSigningKey();
  const signature = sign(key, MESSAGE);
  assert.ok(verify(key.publicKey, MESSAGE, signature));
  assert.ok(!verify(generateSigningKey().publicKey, MESSAGE, signature));
  assert.ok(!verify(key.publicKey, Buffer.from("another"), signature));
  for (let at = 0; at < signature.length; at++) {
    const altered = Buffer.from(signature);
    altered[at] ^= 1;
    assert.ok(!verify(key.publicKey, MESSAGE, altered));
  }
});

test("what is no key and no signature verifies nothing, without an exception", () => {
  const key = generateSigningKey();
  const signature = sign(key, MESSAGE);
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(31), Buffer.alloc(32), Buffer.alloc(32, 0xff), Buffer.alloc(33)]) {
    assert.equal(verify(bytes, MESSAGE, signature), false);
  }
  assert.equal(verify(key.publicKey, MESSAGE, signature.subarray(1)), false);
});

test("a key made again from its seed is the same", () => {
  const key = generateSigningKey();
  assert.deepEqual(signingKeyFromSeed(key.privateKey), key);
});
