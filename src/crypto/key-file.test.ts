import assert from "node:assert/strict";
import { test } from "node:test";
import { Decrypter, Encrypter, generateIdentity, identityToRecipient } from "age-encryption";
import { DamagedError, UsageError, WrongPasswordError } from "../errors.ts";
import { decryptKeyFile, encryptKeyFile } from "./key-file.ts";
import { createKeyRing, encodeKeyRing } from "./key-ring.ts";
import { processorMs } from "../platform/testing/processor-time.ts";

const RING = createKeyRing(Buffer.alloc(16, 5));
const CREATED = new Date("2026-03-04T05:06:07.089Z");
/** Cheap: these tests are not about the cost of guessing. */
const workFactorLog2 = 4;

test("a key file for a passphrase comes back with its label and date", async () => {
  const file = await encryptKeyFile(RING, "the office", { passphrase: "pässword", workFactorLog2 }, CREATED);
  assert.deepEqual(await decryptKeyFile(file, { passphrase: "pässword" }), {
    ring: RING,
    label: "the office",
    created: "2026-03-04T05:06:07.089Z",
  });
});

test("the usual work factor is 2^16", async () => {
  const file = await encryptKeyFile(RING, "", { passphrase: "x" });
  assert.match(file.toString("latin1"), /^age-encryption\.org\/v1\n-> scrypt [A-Za-z0-9+/]{22} 16\n/);
});

test("scrypt leaves the main thread free", async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await encryptKeyFile(RING, "", { passphrase: "x", workFactorLog2: 16 });
  clearInterval(timer);
  assert.ok(turns > 5, `${turns} turns of the event loop`);
});

test("the age package opens a key file for a passphrase, and its files open here", async () => {
  const file = await encryptKeyFile(RING, "", { passphrase: "correct horse", workFactorLog2 }, CREATED);
  const decrypter = new Decrypter();
  decrypter.addPassphrase("correct horse");
  assert.equal((await decrypter.decrypt(file, "text")).length, (await plainOf(file, "correct horse")).length);

  const encrypter = new Encrypter();
  encrypter.setPassphrase("correct horse");
  encrypter.setScryptWorkFactor(workFactorLog2);
  const theirs = await encrypter.encrypt(encodeKeyRing(RING, { label: "theirs" }));
  assert.deepEqual(await decryptKeyFile(theirs, { passphrase: "correct horse" }), {
    ring: RING,
    label: "theirs",
    created: "",
  });
});

async function plainOf(file: Buffer, passphrase: string): Promise<Buffer> {
  const { ring, label, created } = await decryptKeyFile(file, { passphrase });
  return encodeKeyRing(ring, { label, created });
}

test("a key file for several recipients opens with each of their identities, and no other", async () => {
  const identities = [await generateIdentity(), await generateIdentity()];
  const recipients = await Promise.all(identities.map((identity) => identityToRecipient(identity)));
  const file = await encryptKeyFile(RING, "team", { recipients }, CREATED);
  for (const identity of identities) {
    assert.deepEqual((await decryptKeyFile(file, { identities: [identity] })).ring, RING);
  }
  assert.deepEqual(
    (await decryptKeyFile(file, { identities: [await generateIdentity(), `${identities[1]}\n`] })).ring,
    RING,
  );
  await assert.rejects(decryptKeyFile(file, { identities: [await generateIdentity()] }), WrongPasswordError);
  await assert.rejects(decryptKeyFile(file, { passphrase: "x" }), WrongPasswordError);
});

test("a wrong passphrase is told apart from damage", async () => {
  const file = await encryptKeyFile(RING, "", { passphrase: "right", workFactorLog2 });
  await assert.rejects(decryptKeyFile(file, { passphrase: "wrong" }, "keys/12"), (error) => {
    return error instanceof WrongPasswordError && error.message.includes("keys/12");
  });
  await assert.rejects(decryptKeyFile(file, { passphrase: "" }), WrongPasswordError);
});

test("what is no recipient and no identity is the user's mistake", async () => {
  await assert.rejects(encryptKeyFile(RING, "", { recipients: ["age1nonsense"] }), UsageError);
  await assert.rejects(encryptKeyFile(RING, "", { recipients: [] }), UsageError);
  const file = await encryptKeyFile(RING, "", { recipients: [await identityToRecipient(await generateIdentity())] });
  await assert.rejects(decryptKeyFile(file, { identities: ["nonsense"] }), UsageError);
});

test("a label that does not fit is refused before anything is written", async () => {
  await assert.rejects(encryptKeyFile(RING, "x".repeat(70_000), { passphrase: "x", workFactorLog2 }), UsageError);
});

test("every altered byte and every cut of a key file for a passphrase is noticed", async () => {
  const file = await encryptKeyFile(RING, "", { passphrase: "p", workFactorLog2 });
  for (let at = 0; at < file.length; at++) {
    const altered = Buffer.from(file);
    altered[at] ^= 0x01;
    await assert.rejects(decryptKeyFile(altered, { passphrase: "p" }), isNamed, `byte ${at}`);
    await assert.rejects(decryptKeyFile(file.subarray(0, at), { passphrase: "p" }), isNamed, `cut at ${at}`);
  }
  await assert.rejects(decryptKeyFile(Buffer.concat([file, Buffer.alloc(1)]), { passphrase: "p" }), DamagedError);
});

test("every altered byte and every cut of a key file for a recipient is noticed", async () => {
  const identity = await generateIdentity();
  const file = await encryptKeyFile(RING, "", { recipients: [await identityToRecipient(identity)] });
  const unlock = { identities: [identity] };
  for (let at = 0; at < file.length; at += 3) {
    const altered = Buffer.from(file);
    altered[at] ^= 0x01;
    await assert.rejects(decryptKeyFile(altered, unlock), isNamed, `byte ${at}`);
    await assert.rejects(decryptKeyFile(file.subarray(0, at), unlock), isNamed, `cut at ${at}`);
  }
});

function isNamed(error: unknown): boolean {
  return error instanceof DamagedError || error instanceof WrongPasswordError;
}

test("a file that asks for a gigantic work factor is refused at once", async () => {
  const file = await encryptKeyFile(RING, "", { passphrase: "p", workFactorLog2 });
  for (const factor of ["21", "63", "99"]) {
    const greedy = Buffer.from(file.toString("latin1").replace(/( )4\n/, `$1${factor}\n`), "latin1");
    const start = processorMs();
    await assert.rejects(decryptKeyFile(greedy, { passphrase: "p" }), (error) => {
      return error instanceof DamagedError && error.message.includes(`2^${factor}`);
    });
    assert.ok(processorMs() - start < 1000);
  }
});

test("what is no age file is named as such", async () => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from("hello"),
    Buffer.alloc(300_000),
    Buffer.from("age-encryption.org/v1\n"),
  ]) {
    await assert.rejects(decryptKeyFile(bytes, { passphrase: "p" }, "keys/77"), (error) => {
      return isNamed(error) && (error as Error).message.includes("keys/77");
    });
    await assert.rejects(decryptKeyFile(bytes, { identities: [await generateIdentity()] }, "keys/77"), isNamed);
  }
});
