import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { newRepository } from "../../test/support/library-repository.ts";
import { saveTiny, type TinyContent } from "../../test/support/tiny-backup.ts";
import type { KeyRing } from "../crypto/key-ring.ts";
import { sha256Hex } from "../crypto/keyed-hash.ts";
import { generateSigningKey } from "../crypto/signing.ts";
import { decodeIndex, encodeIndex, packOf } from "../format/index-object.ts";
import { PREFIXES } from "../format/names.ts";
import { encodeSnapshot } from "../format/snapshot.ts";
import { type MemoryStorage, memoryStorage } from "../storage/memory.ts";
import { withHappening } from "../storage/testing/happening.ts";
import { checkRepository, type CheckResult, type ReadData } from "./check.ts";
import { prune } from "./prune.ts";
import type { Repository } from "./repository.ts";
import { openSnapshot, readSnapshot } from "./snapshots.ts";

interface Place {
  readonly storage: MemoryStorage;
  readonly repository: Repository;
  readonly ids: readonly string[];
}

async function repositoryWith(...contents: readonly TinyContent[]): Promise<Place> {
  const storage = memoryStorage();
  const repository = await newRepository(storage);
  const ids: string[] = [];
  for (const content of contents) ids.push(await saveTiny(repository, content));
  return { storage, repository, ids };
}

const twoSnapshots = (): Promise<Place> => repositoryWith([0, 1, 2], [2, 3]);

function namesOf({ storage }: Pick<Place, "storage">, prefix: string): string[] {
  return [...storage.objects.keys()].filter((name) => name.startsWith(prefix));
}

interface Found {
  readonly errors: readonly string[];
  readonly notes: readonly string[];
  readonly result: CheckResult;
}

const ALL: ReadData = { kind: "all" };

async function check(
  { storage, config, ring }: Omit<Repository, "ring"> & { readonly ring: KeyRing | undefined },
  readData?: ReadData,
): Promise<Found> {
  const errors: string[] = [];
  const notes: string[] = [];
  const result = await checkRepository({
    storage,
    config,
    ring,
    readData,
    onProblem: ({ severity, object, message }) => (severity === "error" ? errors : notes).push(`${object}: ${message}`),
  });
  assert.equal(result.errors, errors.length);
  return { errors, notes, result };
}

function damage({ storage }: Place, name: string, change: (bytes: Uint8Array) => Uint8Array): void {
  const { bytes, modifiedMs } = storage.objects.get(name)!;
  storage.objects.set(name, { bytes: change(Uint8Array.from(bytes)), modifiedMs });
}

const flipped =
  (part: number) =>
  (bytes: Uint8Array): Uint8Array => {
    bytes[Math.floor(bytes.length * part)] ^= 4;
    return bytes;
  };

/** What different people have of the keys. */
const RINGS: readonly (readonly [string, (ring: KeyRing) => KeyRing | undefined])[] = [
  ["the whole key", (ring) => ring],
  ["a write-only key", (ring) => ({ ...ring, privateKey: undefined })],
  ["a keeper's key", (ring) => ({ ...ring, privateKey: undefined, writerSecret: undefined })],
  ["no key", () => undefined],
];

for (const [whose, ringOf] of RINGS) {
  test(`a sound repository gives no errors and no notes with ${whose}`, async () => {
    const { repository } = await twoSnapshots();
    const { errors, notes, result } = await check({ ...repository, ring: ringOf(repository.ring) }, ALL);
    assert.deepEqual(errors, []);
    assert.deepEqual(notes, []);
    assert.equal(result.snapshots, 2);
    assert.equal(result.packsRead, result.packs);
  });

  test(`damage to any kind of object is found and named with ${whose}`, async () => {
    for (const prefix of [PREFIXES.pack, PREFIXES.index, PREFIXES.snapshot]) {
      const sound = await twoSnapshots();
      for (const name of namesOf(sound, prefix)) {
        const before = sound.storage.objects.get(name)!;
        const damages = [0.001, 0.2, 0.5, 0.8, 0.999].map(flipped);
        damages.push(
          (bytes) => bytes.slice(0, -1),
          (bytes) => bytes.slice(0, 20),
          () => new Uint8Array(0),
        );
        damages.push((bytes) => Buffer.concat([bytes, Buffer.alloc(1)]));
        for (const change of damages) {
          damage(sound, name, change);
          const { errors } = await check({ ...sound.repository, ring: ringOf(sound.repository.ring) }, ALL);
          assert.ok(
            errors.some((error) => error.startsWith(`${name}: `)),
            `${name}: ${errors.join("\n")}`,
          );
          sound.storage.objects.set(name, before);
        }
      }
    }
  });

  test(`a pack that is missing, or of another size, is found without reading packs with ${whose}`, async () => {
    const place = await twoSnapshots();
    const ring = ringOf(place.repository.ring);
    for (const name of namesOf(place, PREFIXES.pack)) {
      const before = place.storage.objects.get(name)!;
      damage(place, name, (bytes) => bytes.slice(0, -5));
      const cut = await check({ ...place.repository, ring });
      assert.ok(cut.errors.some((error) => error.startsWith(`${name}: it has`)));
      place.storage.objects.delete(name);
      const gone = await check({ ...place.repository, ring });
      assert.ok(
        gone.errors.some((error) => error.startsWith(`${name}: it is missing; needed by `)),
        gone.errors.join("\n"),
      );
      place.storage.objects.set(name, before);
    }
  });
}

test("a missing pack is told with the snapshots that need it", async () => {
  const place = await repositoryWith([0], ...Array.from({ length: 6 }, (_, at) => [0, at + 1]));
  const [first] = namesOf(place, PREFIXES.pack);
  place.storage.objects.delete(first);
  const { errors } = await check({ ...place.repository, ring: undefined });
  const ids = place.ids.slice(-5).map((id) => id.slice(0, 8));
  const told = errors.find((error) => error.startsWith(first));
  assert.match(told ?? "", /needed by 7 snapshot\(s\): …, /);
  for (const id of ids) assert.ok(told?.includes(id));
});

test("a missing index is told by the snapshots whose frames no index lists, and its packs are noted", async () => {
  const place = await twoSnapshots();
  for (const name of namesOf(place, PREFIXES.index)) place.storage.objects.delete(name);
  const { errors, notes } = await check({ ...place.repository, ring: undefined });
  assert.equal(
    errors.filter((error) => /^snapshot .*: \d+ frame\(s\) that it needs are in no index$/.test(error)).length,
    2,
  );
  assert.match(notes.join("\n"), /2 pack\(s\) are in no index/);
});

test("an index of another repository, and a pack in place of another, are no substitutes", async () => {
  const place = await twoSnapshots();
  const other = await twoSnapshots();
  const [foreign] = namesOf(other, PREFIXES.index);
  place.storage.objects.set(foreign, other.storage.objects.get(foreign)!);
  assert.match((await check(place.repository)).errors.join("\n"), new RegExp(`${foreign}: .*another repository`));
  place.storage.objects.delete(foreign);
  const [one, two] = namesOf(place, PREFIXES.pack);
  place.storage.objects.set(one, place.storage.objects.get(two)!);
  assert.ok((await check({ ...place.repository, ring: undefined }, ALL)).errors.some((error) => error.startsWith(one)));
});

test("damaged lists of condemned packs, and lost keys, are found", async () => {
  const place = await twoSnapshots();
  const list = `${PREFIXES.condemned}${"1".repeat(64)}`;
  await place.storage.put(list, [Buffer.from("{")]);
  for (const name of namesOf(place, PREFIXES.key)) place.storage.objects.delete(name);
  const { errors } = await check({ ...place.repository, ring: undefined });
  assert.ok(errors.some((error) => error.startsWith(`${list}: `)));
  assert.ok(errors.some((error) => error.startsWith("keys/: ")));
});

test("a record that anybody has altered and signed anew is no snapshot of the repository's", async () => {
  const place = await twoSnapshots();
  const { record } = await readSnapshot(place.repository, place.ids[0]);
  const { sealed } = openSnapshot(place.repository, await readSnapshot(place.repository, place.ids[0]));
  const forged = encodeSnapshot({
    repositoryId: randomBytes(16),
    publicKey: place.repository.ring.publicKey,
    signingKey: generateSigningKey(),
    open: record.open,
    frameSet: record.frameSetBytes,
    sealed,
  });
  await place.storage.put(PREFIXES.snapshot + sha256Hex(forged), [forged]);
  const { errors } = await check(place.repository);
  assert.match(errors.join("\n"), new RegExp(`snapshots/${sha256Hex(forged)}: .*another repository`));
});

test("a snapshot whose frame set does not name all that its trees need is found with the key", async () => {
  const place = await twoSnapshots();
  const { ring } = place.repository;
  const [first, second] = await Promise.all(place.ids.map((id) => readSnapshot(place.repository, id)));
  const wrong = encodeSnapshot({
    repositoryId: ring.repositoryId,
    publicKey: ring.publicKey,
    signingKey: generateSigningKey(),
    open: second.record.open,
    frameSet: first.record.frameSetBytes,
    sealed: openSnapshot(place.repository, second).sealed,
  });
  const id = sha256Hex(wrong);
  await place.storage.put(PREFIXES.snapshot + id, [wrong]);
  const { errors } = await check(place.repository);
  assert.deepEqual(errors, [
    `snapshot ${id.slice(0, 8)}: it needs 2 blob(s) that are in no frame which its frame set names`,
  ]);
});

test("an index that says something else of a pack than the pack itself is found when packs are read", async () => {
  const place = await twoSnapshots();
  const [name] = namesOf(place, PREFIXES.index);
  const index = decodeIndex(place.storage.objects.get(name)!.bytes);
  const packs = [packOf(index, 0)].map((pack) => ({
    ...pack,
    frames: pack.frames.map((frame) => ({ ...frame, checksum: Buffer.alloc(16, 7) })),
  }));
  const parts = encodeIndex({ repositoryId: place.repository.ring.repositoryId, packs, sections: index.sections });
  place.storage.objects.delete(name);
  await place.storage.put(PREFIXES.index + sha256Hex(...parts), parts);
  assert.deepEqual((await check({ ...place.repository, ring: undefined })).errors, []);
  const { errors } = await check({ ...place.repository, ring: undefined }, ALL);
  assert.equal(errors.length, 1);
  assert.match(errors[0], /an index says something else/);
});

test("a part of the packs at a time is read, and all of them in all parts", async () => {
  const { repository } = await repositoryWith(...Array.from({ length: 12 }, (_, at) => [at]));
  let read = 0;
  for (let part = 1; part <= 3; part++) {
    read += (await check({ ...repository, ring: undefined }, { kind: "part", part, of: 3 })).result.packsRead;
  }
  assert.equal(read, 12);
  const half = await check({ ...repository, ring: undefined }, { kind: "percent", percent: 50 });
  assert.ok(half.result.packsRead >= 5 && half.result.packsRead <= 7, `${half.result.packsRead} packs`);
  const few = await check({ ...repository, ring: undefined }, { kind: "bytes", bytes: 1 });
  assert.equal(few.result.packsRead, 1);
});

const HAPPENINGS: readonly (readonly [string, (place: Place) => Promise<unknown>])[] = [
  ["somebody saves", ({ repository }) => saveTiny(repository, [2, 5])],
  [
    "somebody forgets and prunes",
    async ({ storage, repository, ids }) => {
      storage.objects.delete(PREFIXES.snapshot + ids[0]);
      await prune(repository, { maxUnusedRatio: 0 });
    },
  ],
];

for (const [what, happening] of HAPPENINGS) {
  test(`nothing is taken for damaged because ${what} at any moment of the check`, async () => {
    let wasReached = true;
    for (let at = 0; wasReached; at++) {
      const place = await repositoryWith([0, 1, 2], [2, 3], [4]);
      const hooked = withHappening(place.storage, at, () => happening(place));
      const { errors } = await check({ ...place.repository, storage: hooked }, ALL);
      assert.deepEqual(errors, [], `at call ${at}`);
      wasReached = hooked.calls > at;
    }
  });
}
