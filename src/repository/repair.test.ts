import assert from "node:assert/strict";
import { test } from "node:test";
import { newRepository } from "../../test/support/library-repository.ts";
import { saveTiny, type TinyContent, verifyTiny } from "../../test/support/tiny-backup.ts";
import { HoldfastError } from "../errors.ts";
import { PREFIXES } from "../format/names.ts";
import { type FrameLocation, readDirectory } from "../format/pack.ts";
import { faultyStorage, inputOutputError } from "../storage/faulty.ts";
import { type MemoryStorage, memoryStorage } from "../storage/memory.ts";
import { checkRepository } from "./check.ts";
import { prune } from "./prune.ts";
import { repairIndex, repairPacks, type RepairOptions } from "./repair.ts";
import type { Repository } from "./repository.ts";

interface Place {
  readonly storage: MemoryStorage;
  readonly repository: Repository;
  readonly saved: Map<string, TinyContent>;
}

/** Three snapshots in three packs; the second and third need frames of the first's pack too. */
async function threeSnapshots(): Promise<Place> {
  const storage = memoryStorage();
  const repository = await newRepository(storage);
  const saved = new Map<string, TinyContent>();
  for (const content of [
    [0, 1, 2, 3],
    [2, 3, 4],
    [3, 5],
  ])
    saved.set(await saveTiny(repository, content), content);
  return { storage, repository, saved };
}

/** The same again with its own storage, for the next way of damaging it. */
function copyOf({ storage, repository, saved }: Place): Place {
  const copy = memoryStorage();
  for (const [name, object] of storage.objects) copy.objects.set(name, object);
  return { storage: copy, repository: { ...repository, storage: copy }, saved };
}

function namesOf({ storage }: Place, prefix: string): string[] {
  return [...storage.objects.keys()].filter((name) => name.startsWith(prefix));
}

function damage({ storage }: Place, name: string, change: (bytes: Uint8Array) => Uint8Array): void {
  const { bytes, modifiedMs } = storage.objects.get(name)!;
  storage.objects.set(name, { bytes: change(Uint8Array.from(bytes)), modifiedMs });
}

const flippedAt = (at: number) => (bytes: Uint8Array) => {
  bytes[at] ^= 0x10;
  return bytes;
};

function collecting(): RepairOptions & { readonly problems: string[] } {
  const problems: string[] = [];
  return { problems, onProblem: (object, message) => problems.push(`${object}: ${message}`) };
}

async function verifyAll({ storage, repository, saved }: Place, only = (_content: TinyContent) => true): Promise<void> {
  for (const [id, content] of saved) if (only(content)) await verifyTiny(storage, repository.ring, id, content);
}

async function problemsOf({ repository }: Place): Promise<string[]> {
  const problems: string[] = [];
  await checkRepository({
    ...repository,
    readData: { kind: "all" },
    onProblem: ({ severity, object, message }) => severity === "error" && problems.push(`${object}: ${message}`),
  });
  return problems;
}

/** The pack of the first snapshot, and its frames: those of the pieces 0 to 3 and then the tree. */
async function firstPack({ storage, repository }: Place): Promise<{ name: string; frames: FrameLocation[] }> {
  for (const name of namesOf({ storage, repository, saved: new Map() }, PREFIXES.pack)) {
    const id = name.slice(-64);
    const frames = await readDirectory(storage, id, storage.objects.get(name)!.bytes.length);
    if (frames.length === 5) return { name, frames };
  }
  throw new Error("there is no such pack");
}

test("indexes that were lost are made anew from the packs", async () => {
  const place = await threeSnapshots();
  for (const name of namesOf(place, PREFIXES.index)) place.storage.objects.delete(name);
  const options = collecting();
  const result = await repairIndex(place.repository, options);
  assert.deepEqual(result, { packs: 3, damagedPacks: 0, damagedIndexes: 0 });
  assert.deepEqual(options.problems, []);
  await verifyAll(place);
  assert.deepEqual(await problemsOf(place), []);
});

test("a damaged index, wherever the damage, is named and made anew", async () => {
  const place = await threeSnapshots();
  const [name] = namesOf(place, PREFIXES.index);
  const { length } = place.storage.objects.get(name)!.bytes;
  for (let at = 0; at < length; at += 41) {
    const damaged = copyOf(place);
    damage(damaged, name, flippedAt(at));
    const options = collecting();
    const result = await repairIndex(damaged.repository, options);
    assert.equal(result.damagedIndexes, 1);
    assert.match(options.problems[0], new RegExp(name));
    await verifyAll(damaged);
    assert.deepEqual(await problemsOf(damaged), []);
  }
});

test("making indexes anew leaves out packs that are gone, and keeps what is left readable", async () => {
  const place = await threeSnapshots();
  const { name } = await firstPack(place);
  place.storage.objects.delete(name);
  await repairIndex(place.repository, collecting());
  const problems = await problemsOf(place);
  assert.ok(problems.length >= 3 && problems.every((problem) => problem.startsWith("snapshot ")), problems.join("\n"));
});

test("a pack whose directory is damaged stays readable by what an old index says of it", async () => {
  const place = await threeSnapshots();
  const { name, frames } = await firstPack(place);
  const last = frames[frames.length - 1];
  damage(place, name, flippedAt(last.offset + last.length + 20));
  const options = collecting();
  assert.deepEqual(await repairIndex(place.repository, options), { packs: 2, damagedPacks: 1, damagedIndexes: 0 });
  assert.match(options.problems[0], /packs\/.*directory/);
  await verifyAll(place);
});

test("wherever a bit of a pack flips, every other frame of it is saved", async () => {
  const place = await threeSnapshots();
  const { name, frames } = await firstPack(place);
  const { length } = place.storage.objects.get(name)!.bytes;
  const places = [0, 9, 23, ...Array.from({ length: 60 }, (_, step) => 24 + Math.floor((step * (length - 24)) / 60))];
  // All of what is not a frame, where a wrong turn loses more than one.
  const framesEnd = frames.reduce((end, frame) => Math.max(end, frame.offset + frame.length), 0);
  for (let at = framesEnd; at < length; at += 37) places.push(at);
  for (const { offset } of frames) places.push(offset, offset + 5, offset + 9, offset + 13, offset + 30);
  for (const at of places) {
    const damaged = copyOf(place);
    damage(damaged, name, flippedAt(at));
    const options = collecting();
    const { packs, savedFrames } = await repairPacks(damaged.repository, options);
    assert.equal(packs, 1);
    assert.match(options.problems[0], new RegExp(name));
    const hit = frames.findIndex(({ offset, length: frameLength }) => at >= offset && at < offset + frameLength);
    assert.equal(savedFrames, hit < 0 ? 5 : 4, `flipped at ${at}`);
    // Frame n holds piece n, and the last the first snapshot's tree.
    await verifyAll(damaged, (content) => hit < 0 || (hit < 4 ? !content.includes(hit) : content.length !== 4));
    assert.ok(damaged.storage.objects.has(`damaged/${name.slice(-64)}`));
    if (hit < 0) assert.deepEqual(await problemsOf(damaged), []);
  }
});

test("of a pack that was cut off, all frames before the cut are saved", async () => {
  const place = await threeSnapshots();
  const { name, frames } = await firstPack(place);
  const { length } = place.storage.objects.get(name)!.bytes;
  for (const cutAt of [
    0,
    10,
    24,
    60,
    frames[1].offset,
    frames[2].offset - 1,
    frames[3].offset + 48,
    length - 33,
    length - 1,
  ]) {
    const damaged = copyOf(place);
    damage(damaged, name, (bytes) => bytes.slice(0, cutAt));
    const { savedFrames } = await repairPacks(damaged.repository, collecting());
    const whole = frames.filter((frame) => frame.offset + frame.length <= cutAt).length;
    assert.equal(savedFrames, whole, `cut at ${cutAt}`);
    await verifyAll(
      damaged,
      (content) => content.every((piece) => piece < whole || piece > 3) && (whole === 5 || content.length !== 4),
    );
  }
});

test("what was saved of a damaged pack outlives prunes", async () => {
  const place = await threeSnapshots();
  const { name, frames } = await firstPack(place);
  damage(place, name, flippedAt(frames[0].offset + 100));
  await repairPacks(place.repository, collecting());
  for (let times = 0; times < 2; times++) await prune(place.repository, { maxUnusedRatio: 0 });
  await verifyAll(place, (content) => !content.includes(0));
});

test("without the key that reads, a pack that lost its directory is left where it is", async () => {
  const place = await threeSnapshots();
  const { name, frames } = await firstPack(place);
  const last = frames[frames.length - 1];
  damage(place, name, flippedAt(last.offset + last.length + 20));
  const { privateKey: _privateKey, ...ring } = place.repository.ring;
  const options = collecting();
  const result = await repairPacks({ ...place.repository, ring: { ...ring, privateKey: undefined } }, options);
  assert.equal(result.savedFrames, 0);
  assert.match(options.problems[0], /key/);
  await verifyAll(place);
  assert.equal((await repairPacks(place.repository, collecting())).savedFrames, 5);
  await verifyAll(place);
});

test("a pack that the disc cannot read in places gives up what it can, and stays", async () => {
  const place = await threeSnapshots();
  const { name, frames } = await firstPack(place);
  const bad = frames[1].offset + 1000;
  const unreadable: Repository["storage"] = {
    ...place.storage,
    get: (object, range) => {
      const { offset = 0, length = Infinity } = range ?? {};
      const isHit = object === name && offset <= bad && offset + length > bad;
      return isHit ? Promise.reject(inputOutputError()) : place.storage.get(object, range);
    },
  };
  const options = collecting();
  const result = await repairPacks({ ...place.repository, storage: unreadable }, options);
  assert.equal(result.savedFrames, 4);
  assert.match(options.problems[0], /cannot be read/);
  assert.ok(place.storage.objects.has(name));
  for (const [id, content] of place.saved) {
    const reading = verifyTiny(unreadable, place.repository.ring, id, content);
    if (content.includes(1)) await assert.rejects(reading, HoldfastError);
    else await reading;
  }
});

test("where the storage is not to be reached, nothing is taken for damaged", async () => {
  const place = await threeSnapshots();
  const before = [...place.storage.objects.keys()];
  const down = faultyStorage(place.storage, (call) =>
    call.method === "get" && call.name.startsWith(PREFIXES.pack)
      ? { failBefore: new HoldfastError("the server is not to be reached") }
      : undefined,
  );
  await assert.rejects(repairPacks({ ...place.repository, storage: down }, collecting()), /not to be reached/);
  assert.deepEqual([...place.storage.objects.keys()], before);
});

for (const [what, repair] of [
  ["indexes", repairIndex],
  ["packs", repairPacks],
] as const) {
  test(`a repair of ${what} that breaks off at any call loses nothing, and can be done again`, async () => {
    const place = await threeSnapshots();
    const { name, frames } = await firstPack(place);
    // Not in a frame, so that all can be saved.
    damage(place, name, flippedAt(frames[4].offset + frames[4].length + 20));
    let reached = true;
    for (let call = 0; reached; call++) {
      const damaged = copyOf(place);
      reached = false;
      const failing = faultyStorage(damaged.storage, ({ index }) => {
        if (index < call) return undefined;
        reached = true;
        return { failBefore: inputOutputError() };
      });
      await repair({ ...damaged.repository, storage: failing }, collecting()).catch((error: unknown) => {
        if (!(error instanceof HoldfastError)) throw error;
      });
      for (const note of namesOf(damaged, PREFIXES.running)) damaged.storage.objects.delete(note);
      await repairPacks(damaged.repository, collecting());
      await repairIndex(damaged.repository, collecting());
      await verifyAll(damaged);
      assert.deepEqual(await problemsOf(damaged), []);
    }
  });
}

test("a repair of a sound repository changes nothing that matters", async () => {
  const place = await threeSnapshots();
  const options = collecting();
  assert.deepEqual(await repairPacks(place.repository, options), { packs: 0, savedFrames: 0, savedBytes: 0 });
  assert.deepEqual(await repairIndex(place.repository, options), { packs: 3, damagedPacks: 0, damagedIndexes: 0 });
  assert.deepEqual(options.problems, []);
  assert.deepEqual(await problemsOf(place), []);
  await verifyAll(place);
});
