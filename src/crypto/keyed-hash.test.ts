import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { checksum16, createKeyedHash, deriveKey, sha256, sha256Hex } from "./keyed-hash.ts";

// https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json: input byte i is i modulo 251.
const KEY = Buffer.from("whats the Elvish word for friend");
const CONTEXT = "BLAKE3 2019-12-27 16:29:52 test vectors context";
const VECTORS = [
  {
    length: 0,
    hash: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    keyed: "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
    derived: "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d",
  },
  {
    length: 1,
    hash: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    keyed: "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
    derived: "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c",
  },
  {
    length: 1024,
    hash: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    keyed: "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
    derived: "7356cd7720d5b66b6d0697eb3177d9f8d73a4a5c5e968896eb6a689684302706",
  },
];

function input(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => index % 251));
}

for (const vector of VECTORS) {
  test(`BLAKE3 gives the published values for ${vector.length} bytes`, () => {
    const bytes = input(vector.length);
    assert.equal(createKeyedHash(KEY).hash(bytes).toString("hex"), vector.keyed);
    assert.equal(deriveKey(CONTEXT, bytes).toString("hex"), vector.derived);
    assert.equal(checksum16(bytes).toString("hex"), vector.hash.slice(0, 32));
  });
}

test("a keyed hash gives the same for the same bytes after any others, in memory of its own", () => {
  const hash = createKeyedHash(KEY);
  const first = hash.hash(input(1));
  const copy = Buffer.from(first);
  hash.hash(input(1024));
  assert.deepEqual(first, copy);
  assert.deepEqual(hash.hash(input(1)), copy);
});

test("two keyed hashes of different keys do not disturb each other", () => {
  const a = createKeyedHash(KEY);
  const b = createKeyedHash(Buffer.alloc(32, 7));
  const alone = b.hash(input(5));
  a.hash(input(1024));
  assert.deepEqual(b.hash(input(5)), alone);
  assert.notDeepEqual(a.hash(input(5)), alone);
});

test("a keyed hash refuses a key of the wrong length", () => {
  assert.throws(() => createKeyedHash(Buffer.alloc(31)), RangeError);
});

test("hashes of several parts are those of the parts joined", () => {
  const [a, b, c] = [input(10), input(0), input(2000)];
  assert.deepEqual(checksum16(a, b, c), checksum16(Buffer.concat([a, b, c])));
  assert.deepEqual(sha256(a, b, c), sha256(Buffer.concat([a, b, c])));
});

test("SHA-256 in hex is what sha256sum prints", () => {
  const printed = execFileSync("sha256sum", { input: input(3000) })
    .toString()
    .slice(0, 64);
  assert.equal(sha256Hex(input(3000)), printed);
});
