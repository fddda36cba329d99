import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { createKeyRing } from "../../src/crypto/key-ring.ts";
import { sha256 } from "../../src/crypto/keyed-hash.ts";
import { generateSigningKey } from "../../src/crypto/signing.ts";
import { DamagedError, type HoldfastError, RefusedError, StorageError } from "../../src/errors.ts";
import type { Account } from "../../src/server/host-directory.ts";
import { createVerifyPool } from "../../src/server/verify-pool.ts";
import type { MemoryStorage } from "../../src/storage/memory.ts";
import { memoryStorage } from "../../src/storage/memory.ts";
import {
  forgeIndex,
  forgePack,
  forgeSnapshot,
  type ForgedPack,
  type ForgedSnapshot,
  framesOf,
  hostileAgent,
} from "./hostile-agent.ts";
import { atEnd } from "../support/at-end.ts";
import { createTestFleet, type TestFleet, type TestFleetSettings } from "./test-fleet.ts";

type T = Parameters<typeof createTestFleet>[0];

/** web1 has been broken into; db1 is an honest host with a pack and a snapshot of its own. */
async function brokenInto(t: T, settings: TestFleetSettings = {}) {
  const storage = memoryStorage();
  const fleet = await createTestFleet(t, { storage, ...settings });
  const [web, db] = [fleet.addHost("web1"), fleet.addHost("db1")];
  const { ring } = fleet.owner;
  const foreign = forgePack(ring, [randomBytes(500), randomBytes(600)]);
  const honest = await hostileAgent(fleet, "db1");
  await honest.put(foreign.name, foreign.bytes);
  const foreignIndex = forgeIndex(ring, [foreign]);
  await honest.put(foreignIndex.name, foreignIndex.bytes);
  const foreignSnapshot = forgeSnapshot(ring, {
    host: "db1",
    signingKey: db.signingKey,
    timeMs: honest.hello.startedMs,
    frames: [framesOf(foreign)],
  });
  await honest.put(foreignSnapshot.name, foreignSnapshot.bytes);
  honest.connection.close();
  fleet.clock.nowMs += 1000;
  const agent = await hostileAgent(fleet, "web1");
  t.after(() => agent.connection.close());
  return { fleet, storage, ring, web, db, foreign, foreignIndex, foreignSnapshot, agent };
}

/** Refused, and nothing was stored. */
async function refused(storage: MemoryStorage, what: Promise<unknown>, why: RegExp): Promise<void> {
  const before = new Set(storage.objects.keys());
  await assert.rejects(what, (error: HoldfastError) => {
    assert.ok(
      error instanceof RefusedError || error instanceof DamagedError || error instanceof StorageError,
      String(error),
    );
    assert.match(error.message, why);
    return true;
  });
  const isNew = (name: string): boolean => !before.has(name) && !name.startsWith("running/");
  const after = [...storage.objects.keys()].filter(isNew);
  assert.deepEqual(after, []);
}

test("takes no pack that is not what its name, its directory or its frames say", async (t) => {
  const { storage, ring, agent, foreign } = await brokenInto(t);
  const good = forgePack(ring, [randomBytes(300), randomBytes(300)]);
  const cases: [string, Uint8Array, RegExp][] = [
    ["another name", good.bytes, /not that of its name/],
    ["no pack at all", randomBytes(1000), /does not start as a pack does/],
    ["nothing", Buffer.alloc(0), /does not start as a pack does/],
    ["a pack cut short", good.bytes.subarray(0, good.bytes.length - 7), /does not end as a pack does/],
    ["another repository's", forgePack(createKeyRing(randomBytes(16)), [randomBytes(9)]).bytes, /another repository/],
    ["an empty pack", forgePack(ring, []).bytes, /nothing in it/],
    ["a high number", forgePack(ring, [randomBytes(9)], { firstNumber: 2 ** 24 }).bytes, /too high a number/],
  ];
  const lies: [string, Parameters<typeof forgePack>[2], RegExp][] = [
    ["a wrong checksum", { directory: (frame) => ({ ...frame, checksum: Buffer.alloc(16) }) }, /checksum of frame/],
    ["another kind", { directory: (frame) => ({ ...frame, kind: "tree" }) }, /something else of frame/],
    ["another number", { directory: (frame) => ({ ...frame, number: frame.number + 5 }) }, /something else of frame/],
    ["another origin", { directory: (frame) => ({ ...frame, origin: foreign.origin }) }, /something else of frame/],
    ["a gap", { directory: (frame) => ({ ...frame, offset: frame.offset + 1 }) }, /starts at/],
    [
      "an overlong frame",
      { directory: (frame) => ({ ...frame, length: frame.length + 1 }) },
      /its frames end at|starts at/,
    ],
    [
      "a blob list that does not open",
      { directory: (frame) => ({ ...frame, sealedBlobs: randomBytes(60) }) },
      /blob list/,
    ],
  ];
  for (const [what, forgery, why] of lies) cases.push([what, forgePack(ring, [randomBytes(50)], forgery).bytes, why]);
  const flipped = Buffer.from(good.bytes);
  flipped[200] ^= 1;
  cases.push(["an altered frame", flipped, /checksum of frame/]);
  for (const [what, bytes, why] of cases) {
    const id = what === "another name" ? "ab".repeat(32) : sha256(bytes).toString("hex");
    await t.test(what, () => refused(storage, agent.put(`packs/${id.slice(0, 2)}/${id}`, bytes), why));
  }
  await agent.put(good.name, good.bytes);
  assert.ok(storage.objects.has(good.name), "the true one is taken");
});

test("takes no pack with frames of another host's origins, nor one that says what became of them", async (t) => {
  const { storage, ring, agent, foreign } = await brokenInto(t);
  const poisoned = forgePack(ring, [randomBytes(500)], { origin: foreign.origin, firstNumber: 100 });
  await refused(storage, agent.put(poisoned.name, poisoned.bytes), /frames that are not this host's/);
  const forwards = [{ origin: foreign.origin, number: 0, others: [] }];
  const forwarding = forgePack(ring, [randomBytes(500)], { forwards });
  await refused(storage, agent.put(forwarding.name, forwarding.bytes), /speaks of frames that are not this host's/);
  // Even the very same bytes are not acknowledged, which would show that they are there.
  await refused(storage, agent.put(foreign.name, foreign.bytes), /frames that are not this host's/);
});

test("takes no index that lists another's packs, or says of its own what is not so", async (t) => {
  const { storage, ring, agent, foreign, foreignIndex } = await brokenInto(t);
  const own = forgePack(ring, [randomBytes(300), randomBytes(400)]);
  const absent = forgePack(ring, [randomBytes(300)]);
  await agent.put(own.name, own.bytes);
  const changedFrame = (change: Partial<ForgedPack["frames"][number]>): ForgedPack => ({
    ...own,
    frames: own.frames.map((frame) => ({ ...frame, ...change })),
  });
  const cases: [string, { name: string; bytes: Buffer }, RegExp][] = [
    ["another's pack", forgeIndex(ring, [foreign]), /not this host's/],
    ["another's pack beside its own", forgeIndex(ring, [own, foreign]), /not this host's/],
    ["a pack that is nowhere", forgeIndex(ring, [absent]), /not this host's/],
    ["the other's index itself", foreignIndex, /not this host's/],
    ["a wrong checksum", forgeIndex(ring, [changedFrame({ checksum: Buffer.alloc(16) })]), /wrong about frame/],
    ["a wrong kind", forgeIndex(ring, [changedFrame({ kind: "tree" })]), /wrong about frame/],
    [
      "a frame too few",
      forgeIndex(ring, [{ ...own, frames: own.frames.slice(0, 1), blobs: own.blobs.slice(0, 1) }]),
      /number of frames/,
    ],
    [
      "a wrong size",
      forgeIndex(ring, [{ ...own, bytes: Buffer.concat([own.bytes, Buffer.alloc(1)]) }]),
      /another size/,
    ],
    ["a blob's other id", forgeIndex(ring, [own], ({ ids }) => ids.fill(7, 0, 16)), /places a blob/],
    ["a blob in another frame", forgeIndex(ring, [own], ({ frames }) => frames.reverse()), /places a blob/],
    ["a blob at a place there is not", forgeIndex(ring, [own], ({ places }) => places.fill(9)), /places a blob/],
    ["a blob of another length", forgeIndex(ring, [own], ({ lengths }) => lengths.fill(9)), /places a blob/],
    ["a blob left out", forgeIndex(ring, [{ ...own, blobs: own.blobs.slice(0, 1) }]), /lists 1 blobs of 2/],
    ["another index key", forgeIndex({ ...ring, indexKey: randomBytes(32) }, [own]), /list of blobs/],
  ];
  for (const [what, index, why] of cases) {
    await t.test(what, () => refused(storage, agent.put(index.name, index.bytes), why));
  }
  const good = forgeIndex(ring, [own]);
  await agent.put(good.name, good.bytes);
  assert.ok(storage.objects.has(good.name), "the true one is taken");
});

test("takes no snapshot of another host, of another time, or of frames that are not the host's own", async (t) => {
  const { storage, ring, agent, web, db, foreign } = await brokenInto(t);
  const own = forgePack(ring, [randomBytes(300), randomBytes(400)]);
  const absent = forgePack(ring, [randomBytes(300)]);
  await agent.put(own.name, own.bytes);
  const { startedMs } = agent.hello;
  const good: ForgedSnapshot = { host: "web1", signingKey: web.signingKey, timeMs: startedMs, frames: [framesOf(own)] };
  const day = 86_400_000;
  const beyond = { origin: own.origin, numbers: Uint32Array.of(0, 1, 2) };
  const wild = { origin: own.origin, numbers: Uint32Array.from({ length: 5000 }, (_, number) => number * 400_000) };
  const cases: [string, Partial<ForgedSnapshot>, RegExp][] = [
    ["another host's name", { host: "db1" }, /says it is of "db1"/],
    ["another host's key", { signingKey: db.signingKey }, /signed by a key that is not this host's/],
    ["a key of nobody's", { signingKey: generateSigningKey() }, /signed by a key that is not this host's/],
    ["a day ahead", { timeMs: startedMs + day }, /time is not the one/],
    ["a day back", { timeMs: startedMs - day }, /time is not the one/],
    ["a millisecond ahead", { timeMs: startedMs + 1 }, /time is not the one/],
    ["another host's frames", { frames: [framesOf(foreign)] }, /2 of the frames it needs are not stored for this host/],
    ["own and another's frames", { frames: [framesOf(own), framesOf(foreign)] }, /2 of the frames/],
    ["frames that are nowhere", { frames: [framesOf(absent)] }, /1 of the frames/],
    ["one frame more than there is", { frames: [beyond] }, /1 of the frames/],
    ["thousands of numbers", { frames: [wild] }, /4999 of the frames/],
    ["another repository", { repositoryId: randomBytes(16) }, /another repository/],
  ];
  for (const [what, change, why] of cases) {
    const snapshot = forgeSnapshot(ring, { ...good, ...change });
    await t.test(what, () => refused(storage, agent.put(snapshot.name, snapshot.bytes), why));
  }
  const tampered = Buffer.from(forgeSnapshot(ring, good).bytes);
  tampered[tampered.length - 120] ^= 1;
  const tamperedName = `snapshots/${sha256(tampered).toString("hex")}`;
  await refused(storage, agent.put(tamperedName, tampered), /signature does not hold/);

  const first = forgeSnapshot(ring, good);
  await agent.put(first.name, first.bytes);
  assert.ok(storage.objects.has(first.name), "the true one is taken");
  const second = forgeSnapshot(ring, good);
  await refused(storage, agent.put(second.name, second.bytes), /a run commits only one/);
});

test("takes no snapshot that needs a frame of a pack that was deleted", async (t) => {
  const { storage, ring, agent, web } = await brokenInto(t);
  const own = forgePack(ring, [randomBytes(300)]);
  await agent.put(own.name, own.bytes);
  storage.objects.delete(own.name);
  const snapshot = forgeSnapshot(ring, {
    host: "web1",
    signingKey: web.signingKey,
    timeMs: agent.hello.startedMs,
    frames: [framesOf(own)],
  });
  await refused(storage, agent.put(snapshot.name, snapshot.bytes), /1 of the frames/);
});

test("deletes nothing for a host: not even its own", async (t) => {
  const { storage, ring, agent, foreign, foreignSnapshot } = await brokenInto(t);
  const own = forgePack(ring, [randomBytes(300)]);
  await agent.put(own.name, own.bytes);
  const before = [...storage.objects.keys()].sort();
  for (const name of [...before, own.name, foreign.name, foreignSnapshot.name, "config"]) {
    if (name.startsWith("running/")) continue;
    await assert.rejects(agent.delete(name), /nothing is deleted on behalf of a host/);
  }
  // The server's own note of the run is not the host's to remove, nor that of a prune.
  for (const name of before.filter((found) => found.startsWith("running/"))) await agent.delete(name);
  assert.deepEqual([...storage.objects.keys()].sort(), before);
});

test("stores nothing but packs, indexes and snapshots, under no name that leads elsewhere", async (t) => {
  const { storage, agent } = await brokenInto(t);
  const names = [
    "config",
    `keys/${"ab".repeat(16)}`,
    `condemned/${"ab".repeat(32)}`,
    "x",
    "packs/ab/abc",
    "index/readme",
    "../../etc/passwd",
    "/etc/passwd",
    "packs/../config",
    "packs/ab/..",
    "tmp/x",
    "",
    ".",
    "packs//x",
    "a\0b",
    `packs/ab/${"cd".repeat(32)}`,
    `snapshots/${"AB".repeat(32)}`,
    "x".repeat(200),
  ];
  for (const name of names)
    await refused(
      storage,
      agent.put(name, Buffer.from("content")),
      /may not store|no object name|is not an object name/,
    );
});

test("refuses a blob that is not what its id says, where the server holds the key", async (t) => {
  const verifier: { verify?: NonNullable<Account["verifyPack"]> } = {};
  const { storage, ring, agent } = await brokenInto(t, {
    account: { verifyPack: (pack) => verifier.verify?.(pack) ?? Promise.resolve(pack.bytes) },
  });
  const pool = createVerifyPool(1);
  atEnd(t, () => pool.close());
  const secret = randomBytes(500);
  const poisoned = forgePack(ring, [randomBytes(500)], { blobIds: [forgePack(ring, [secret]).blobs[0].ids] });
  verifier.verify = pool.verifierOf(ring);
  await refused(storage, agent.put(poisoned.name, poisoned.bytes), /not what their ids say/);
  // Sealed with a key that the server cannot open.
  const opaque = forgePack({ ...ring, publicKey: createKeyRing(ring.repositoryId).publicKey }, [secret]);
  await refused(storage, agent.put(opaque.name, opaque.bytes), /damaged/);
  const good = forgePack(ring, [secret]);
  await agent.put(good.name, good.bytes);
  assert.ok(storage.objects.has(good.name));
});

test("takes nothing beyond what quota and space allow, and gives back what was set aside", async (t) => {
  let left = 4000;
  const { storage, ring, agent } = await brokenInto(t, {
    account: {
      async admit(host, bytes) {
        if (host !== "web1") return () => undefined;
        if (bytes > left) throw new RefusedError("the host's quota is used up");
        left -= bytes;
        return () => {
          left += bytes;
        };
      },
    },
  });
  const large = forgePack(ring, [randomBytes(5000)]);
  await refused(storage, agent.put(large.name, large.bytes), /quota is used up/);
  const small = forgePack(ring, [randomBytes(500)]);
  await agent.put(small.name, small.bytes);
  assert.equal(left, 4000);
});

test("lets nobody go on with another host's run, nor with one that was made up or is too old", async (t) => {
  const { fleet, agent } = await brokenInto(t);
  const foreignTicket = agent.hello.ticket;
  await assert.rejects(hostileAgent(fleet, "db1", "backup", foreignTicket), /none of this host's/);
  await assert.rejects(hostileAgent(fleet, "db1", "backup", "AAAA"), /none of this host's/);
  agent.connection.close();
  fleet.clock.nowMs += 8 * 86_400_000;
  await assert.rejects(hostileAgent(fleet, "web1", "backup", foreignTicket), /began too long ago/);
});

test("lets a session that only reads store nothing, and holds no pruning off for it", async (t) => {
  const { fleet, storage, ring, agent } = await brokenInto(t);
  agent.connection.close();
  const reader = await hostileAgent(fleet, "web1", "read");
  t.after(() => reader.connection.close());
  const pack = forgePack(ring, [randomBytes(300)]);
  await refused(storage, reader.put(pack.name, pack.bytes), /for reading only/);
});

test("does not let a run that never commits hold pruning off for ever", async (t) => {
  const fleet: TestFleet = await createTestFleet(t, { rules: { noteMs: 1000 } });
  fleet.addHost("web1");
  const agent = await hostileAgent(fleet, "web1");
  t.after(() => agent.connection.close());
  const notes = (): string[] =>
    [...(fleet.storage as MemoryStorage).objects.keys()].filter((name) => name.startsWith("running/"));
  assert.equal(notes().length, 1);
  for (let tries = 0; notes().length > 0 && tries < 300; tries++) await wait(100);
  assert.deepEqual(notes(), []);
});

test("lets a host have one backup at a time", async (t) => {
  const { fleet } = await brokenInto(t);
  await assert.rejects(hostileAgent(fleet, "web1"), /already running/);
});
