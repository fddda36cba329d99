import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { createKeyRing, toWriteOnly } from "../../src/crypto/key-ring.ts";
import { DamagedError, RefusedError } from "../../src/errors.ts";
import { createVerifyPool } from "../../src/server/verify-pool.ts";
import { createPackVerifier } from "../../src/server/verify-pack.ts";
import { atEnd } from "../support/at-end.ts";
import { forgePack } from "./hostile-agent.ts";

const MEBIBYTE = 1024 * 1024;

test("gives back the bytes of good packs, and of bad ones says why, many at once", async (t) => {
  const pool = createVerifyPool(2);
  atEnd(t, () => pool.close());
  const ring = createKeyRing(randomBytes(16));
  const verify = pool.verifierOf(ring);
  const packs = Array.from({ length: 12 }, () => forgePack(ring, [randomBytes(2000), randomBytes(10)]));
  const lying = forgePack(ring, [randomBytes(500)], { blobIds: [randomBytes(32)] });
  const cut = packs[0].bytes.subarray(0, -1);
  const opaque = forgePack({ ...ring, publicKey: createKeyRing(ring.repositoryId).publicKey }, [randomBytes(9)]);
  const [results] = await Promise.all([
    Promise.all(packs.map(({ id, bytes }) => verify({ id, bytes: Buffer.from(bytes) }))),
    assert.rejects(verify(lying), (error) => error instanceof RefusedError && /not what their ids/.test(error.message)),
    assert.rejects(verify({ id: packs[0].id, bytes: cut }), DamagedError),
    assert.rejects(verify(opaque), DamagedError),
  ]);
  for (const [number, bytes] of results.entries()) assert.ok(bytes.equals(packs[number].bytes));
});

test("a thread that dies fails what it was at, and the next pack gets a new one", async (t) => {
  const pool = createVerifyPool(1);
  atEnd(t, () => pool.close());
  const ring = createKeyRing(randomBytes(16));
  // No server asks with such a ring: a fault of its own.
  await assert.rejects(
    pool.verifierOf(toWriteOnly(ring))(forgePack(ring, [randomBytes(9)])),
    /a server verifies packs only with a full key ring/,
  );
  const broken = pool.verifierOf({ ...ring, indexKey: Buffer.alloc(3) });
  await assert.rejects(broken(forgePack(ring, [randomBytes(9)])), /has ended/);
  const { id, bytes } = forgePack(ring, [randomBytes(9)]);
  assert.ok((await pool.verifierOf(ring)({ id, bytes: Buffer.from(bytes) })).equals(bytes));
});

test("takes next to nothing of the thread that serves connections", async (t) => {
  const pool = createVerifyPool(1);
  atEnd(t, () => pool.close());
  const ring = createKeyRing(randomBytes(16));
  const content = Array.from({ length: 16 }, () => Buffer.alloc(MEBIBYTE, randomBytes(40)));
  const forged = forgePack(ring, content);
  const pack = () => ({ id: forged.id, bytes: Buffer.from(forged.bytes) });
  const here = createPackVerifier(ring);
  const there = pool.verifierOf(ring);
  here(pack());
  await there(pack());
  // The best of some: what else happens in this thread, as a collection of garbage, is another matter.
  let inThreadUs = Infinity;
  let besideUs = Infinity;
  for (let round = 0; round < 6; round++) {
    const [mine, given] = [pack(), pack()];
    inThreadUs = Math.min(
      inThreadUs,
      cpuOf(() => here(mine)),
    );
    const before = process.threadCpuUsage();
    await there(given);
    const { user, system } = process.threadCpuUsage(before);
    besideUs = Math.min(besideUs, user + system);
  }
  assert.ok(besideUs < inThreadUs / 3, `${besideUs} µs, and ${inThreadUs} µs without the pool`);
});

function cpuOf(work: () => void): number {
  const before = process.threadCpuUsage();
  work();
  const { user, system } = process.threadCpuUsage(before);
  return user + system;
}
