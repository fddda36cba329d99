import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { SealBrokenError } from "./aead.ts";
import { decapsulate, encapsulate, generateKeyPair, publicKeyOf } from "./hpke.ts";

const INFO = Buffer.from("holdfast test");

test("decapsulation gives the secrets of RFC 9180's test vectors for this suite", () => {
  // test-vectors.json of the RFC: mode 0, kem 0x0020, kdf 0x0001, aead 0x0002.
  const info = Buffer.from("4f6465206f6e2061204772656369616e2055726e", "hex");
  const privateKey = Buffer.from("497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d", "hex");
  const enc = Buffer.from("6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256", "hex");
  assert.equal(
    publicKeyOf(privateKey).toString("hex"),
    "430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c",
  );
  const context = decapsulate(privateKey, enc, info);
  assert.equal(
    context.export("", 32).toString("hex"),
    "ded6cffafaea6b812cbf3e241e88332adbc077aca81512914213810ee291770a",
  );
  assert.equal(
    context.export("TestContext", 32).toString("hex"),
    "7c5ded445732c14fe09727d29b4251c0fd38455fe8440571e687f0886aac94d2",
  );
});

function otherImplementation(): CipherSuite {
  return new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
}

test("another implementation agrees on the secret, whichever side it takes", async () => {
  const suite = otherImplementation();
  for (let round = 0; round < 5; round++) {
    const { publicKey, privateKey } = generateKeyPair();
    const info = randomBytes(round * 20);
    const theirPublic = await suite.kem.deserializePublicKey(arrayBuffer(publicKey));
    const theirPrivate = await suite.kem.deserializePrivateKey(arrayBuffer(privateKey));

    const sender = await suite.createSenderContext({ recipientPublicKey: theirPublic, info: arrayBuffer(info) });
    const opened = decapsulate(privateKey, Buffer.from(sender.enc), info);
    const theirs = await sender.export(arrayBuffer(Buffer.from("frames")), 77);
    assert.deepEqual(opened.export("frames", 77), Buffer.from(theirs));

    const sent = encapsulate(publicKey, info);
    const recipient = await suite.createRecipientContext({
      recipientKey: theirPrivate,
      enc: arrayBuffer(sent.enc),
      info: arrayBuffer(info),
    });
    assert.deepEqual(Buffer.from(await recipient.export(arrayBuffer(Buffer.from("x")), 32)), sent.export("x", 32));
  }
});

function arrayBuffer(bytes: Buffer): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}

test("both sides agree; another key, info or label gives another secret", () => {
  const keys = generateKeyPair();
  const sent = encapsulate(keys.publicKey, INFO);
  const secret = sent.export("frames", 32);
  assert.deepEqual(decapsulate(keys.privateKey, sent.enc, INFO).export("frames", 32), secret);
  const others = [
    decapsulate(generateKeyPair().privateKey, sent.enc, INFO).export("frames", 32),
    decapsulate(keys.privateKey, generateKeyPair().publicKey, INFO).export("frames", 32),
    decapsulate(keys.privateKey, sent.enc, Buffer.from("holdfast tests")).export("frames", 32),
    decapsulate(keys.privateKey, sent.enc, INFO).export("record", 32),
  ];
  for (const other of others) assert.notDeepEqual(other, secret);
});

test("two encapsulations to one key share nothing", () => {
  const { publicKey } = generateKeyPair();
  const [a, b] = [encapsulate(publicKey, INFO), encapsulate(publicKey, INFO)];
  assert.notDeepEqual(a.enc, b.enc);
  assert.notDeepEqual(a.export("frames", 32), b.export("frames", 32));
});

// https://cr.yp.to/ecdh.html#validate: points whose product with any private key is zero.
const POINTS_OF_SMALL_ORDER = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

for (const point of POINTS_OF_SMALL_ORDER) {
  test(`a public key that would give the zero secret is refused: ${point.slice(0, 8)}…`, () => {
    const { privateKey } = generateKeyPair();
    const enc = Buffer.from(point, "hex");
    assert.throws(() => decapsulate(privateKey, enc, INFO), SealBrokenError);
    assert.throws(() => encapsulate(enc, INFO), SealBrokenError);
  });
}

test("keys of the wrong length are refused", () => {
  const { privateKey, publicKey } = generateKeyPair();
  for (const length of [0, 31, 33]) {
    assert.throws(() => decapsulate(privateKey, Buffer.alloc(length, 9), INFO), SealBrokenError);
    assert.throws(() => decapsulate(Buffer.alloc(length, 9), publicKey, INFO), SealBrokenError);
    assert.throws(() => encapsulate(Buffer.alloc(length, 9), INFO), SealBrokenError);
  }
});
