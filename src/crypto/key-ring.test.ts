import assert from "node:assert/strict";
import { test } from "node:test";
import { DamagedError } from "../errors.ts";
import { createKeyRing, decodeKeyRing, derivedKeys, encodeKeyRing, toKeeper, toWriteOnly } from "./key-ring.ts";

const REPOSITORY = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");

test("a key ring comes back as it was, whole, write-only and a keeper's", () => {
  const ring = createKeyRing(REPOSITORY);
  for (const kept of [ring, toWriteOnly(ring), toKeeper(ring)]) {
    const decoded = decodeKeyRing(encodeKeyRing(kept, { label: "Änne's", created: "2026-01-01T00:00:00.000Z" }));
    assert.deepEqual(decoded.ring, kept);
    assert.deepEqual(decoded.notes, { label: "Änne's", created: "2026-01-01T00:00:00.000Z" });
  }
});

test("a write-only ring holds no private key, a keeper's no writer secret", () => {
  const ring = createKeyRing(REPOSITORY);
  const writeOnly = encodeKeyRing(toWriteOnly(ring)).toString();
  assert.ok(!writeOnly.includes(ring.privateKey!.toString("base64")));
  assert.ok(writeOnly.includes(ring.writerSecret!.toString("base64")));
  const keeper = encodeKeyRing(toKeeper(ring)).toString();
  assert.ok(!keeper.includes(ring.writerSecret!.toString("base64")));
  assert.ok(keeper.includes(ring.privateKey!.toString("base64")));
  assert.throws(() => derivedKeys(toKeeper(ring)), RangeError);
});

test("two new key rings share no secret", () => {
  const [a, b] = [createKeyRing(REPOSITORY), createKeyRing(REPOSITORY)];
  assert.notDeepEqual(a.privateKey, b.privateKey);
  assert.notDeepEqual(a.writerSecret, b.writerSecret);
  assert.notDeepEqual(a.indexKey, b.indexKey);
});

// A change here is a change of format: see docs/format.md, "Keys".
const GOLDEN = `{
  "repository": "000102030405060708090a0b0c0d0e0f",
  "privateKey": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
  "publicKey": "pOCSkrZRwni5dyxWn1+puxPZBrRqtoyd+dwrRAn4ogk=",
  "writerSecret": "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
  "indexKey": "dZCsYUbTaL1PvMKEDFVuwW+JE0xDQ/S7vEQjzwbZaE0=",
  "label": "golden"
}
`;

test("a key ring has the bytes that the format says", () => {
  const { ring, notes } = decodeKeyRing(Buffer.from(GOLDEN));
  assert.equal(encodeKeyRing(ring, notes).toString(), GOLDEN);
});

test("derived keys are those that the format says", () => {
  const keys = derivedKeys(decodeKeyRing(Buffer.from(GOLDEN)).ring);
  const hex = Object.fromEntries(
    Object.entries(keys).map(([name, key]: [string, Buffer]) => [name, key.toString("hex")]),
  );
  assert.deepEqual(hex, {
    data: "91a36bd608e37fdc220c820226dbd9e6dcd177fc6ed7bc5c2a99a0e48b981c5e",
    tree: "0b1b9d0cd39fbe80234271a0e2bded39a96e325c2f86ba8d1cbd1a682a4b3125",
    chunk: "1df44ea9f2fcf69df6f11146e442495f19100f576332c4345a6e7fc09b47f961",
    link: "3304ab0d0990969e0f1d419881e8f4331fdaa1288a326313d0dc6a3949caebd2",
    group: "a1529989cc4ba5bbe64d26d5719eed0560e3dbfe240cfd13702ffe268359f124",
  });
});

const json = JSON.parse(GOLDEN) as Record<string, unknown>;
const BAD: [string, unknown, RegExp][] = [
  ["no JSON", "{", /not JSON/],
  ["a list", [], /not a JSON object/],
  ["null", null, /not a JSON object/],
  ["no repository", { ...json, repository: undefined }, /"repository"/],
  ["a repository id of capitals", { ...json, repository: "000102030405060708090A0B0C0D0E0F" }, /"repository"/],
  ["no public key", { ...json, publicKey: undefined }, /"publicKey" is missing/],
  ["a short key", { ...json, indexKey: "AQEB" }, /"indexKey" is not 32 bytes/],
  ["a key with stray characters", { ...json, publicKey: `${String(json["publicKey"])}\n` }, /"publicKey"/],
  ["a number for a key", { ...json, privateKey: 7 }, /"privateKey"/],
  ["a private key of another public key", { ...json, privateKey: json["writerSecret"] }, /do not belong together/],
  ["an index key of another secret", { ...json, indexKey: json["writerSecret"] }, /do not belong together/],
  ["a label that is no text", { ...json, label: 5 }, /"label" is not text/],
  ["too many bytes", { ...json, label: "x".repeat(70_000) }, /too many/],
];

for (const [name, content, message] of BAD) {
  test(`a key ring with ${name} is refused by name`, () => {
    const bytes = Buffer.from(typeof content === "string" ? content : JSON.stringify(content));
    assert.throws(
      () => decodeKeyRing(bytes, "keys/abc"),
      (error) => error instanceof DamagedError && message.test(error.message) && error.message.startsWith("keys/abc"),
    );
  });
}
