import assert from "node:assert/strict";
import { test } from "node:test";
import { newRepository } from "../../test/support/library-repository.ts";
import { saveTiny, type TinyContent, verifyTiny } from "../../test/support/tiny-backup.ts";
import { HoldfastError, InterruptedError } from "../errors.ts";
import { sha256Hex } from "../crypto/keyed-hash.ts";
import { decodeIndex, encodeIndex, packOf } from "../format/index-object.ts";
import { PREFIXES } from "../format/names.ts";
import { discFull, faultyStorage, inputOutputError } from "../storage/faulty.ts";
import { type MemoryStorage, memoryStorage } from "../storage/memory.ts";
import type { Storage } from "../storage/storage.ts";
import { prune } from "./prune.ts";
import { repairIndex } from "./repair.ts";
import type { Repository } from "./repository.ts";
import { noteRunning } from "./running.ts";

interface Place {
  readonly storage: MemoryStorage;
  readonly repository: Repository;
  /** What each snapshot that should be there holds. */
  readonly saved: Map<string, TinyContent>;
}

/** A repository with a snapshot of each content. */
async function repositoryWith(...contents: readonly TinyContent[]): Promise<Place> {
  const storage = memoryStorage();
  const repository = await newRepository(storage);
  const saved = new Map<string, TinyContent>();
  for (const content of contents) saved.set(await saveTiny(repository, content), content);
  return { storage, repository, saved };
}

function namesOf({ storage }: Place, prefix: string): string[] {
  return [...storage.objects.keys()].filter((name) => name.startsWith(prefix));
}

function forget({ storage, saved }: Place, place: number): void {
  const id = [...saved.keys()][place];
  storage.objects.delete(PREFIXES.snapshot + id);
  saved.delete(id);
}

async function verifyAll({ storage, repository, saved }: Place): Promise<void> {
  for (const [id, content] of saved) await verifyTiny(storage, repository.ring, id, content);
}

const EVERYTHING = { maxUnusedRatio: 0 };

test("a damaged index, wherever a bit of it flipped, never makes prune delete what is needed", async () => {
  const place = await repositoryWith([0, 1, 2], [2, 3], [4]);
  forget(place, 0);
  const { objects } = place.storage;
  const before = new Map(objects);
  let refused = 0;
  for (const name of namesOf(place, PREFIXES.index)) {
    const { bytes, modifiedMs } = before.get(name)!;
    for (let at = 0; at < bytes.length; at += 3) {
      objects.clear();
      for (const [other, object] of before) objects.set(other, object);
      const damaged = Uint8Array.from(bytes);
      damaged[at] ^= 1 << (at & 7);
      objects.set(name, { bytes: damaged, modifiedMs });
      await prune(place.repository, EVERYTHING).catch((error: unknown) => {
        if (!(error instanceof HoldfastError)) throw error;
        refused++;
      });
      if (objects.has(name)) objects.set(name, { bytes, modifiedMs });
      await verifyAll(place);
    }
  }
  assert.ok(refused > 100, `only ${refused} times anything was noticed`);
});

function packCount(place: Place): number {
  return namesOf(place, PREFIXES.pack).length;
}

/** What somebody on another machine has noted. */
function noteElsewhere({ storage }: Place, run: string): () => void {
  const name = `${PREFIXES.running}${run.repeat(16)}${"0".repeat(15)}1`;
  const note = { host: "elsewhere", process: 1, started: new Date().toISOString(), what: "backup" };
  storage.objects.set(name, { bytes: Buffer.from(JSON.stringify(note)), modifiedMs: Date.now() });
  return () => storage.objects.delete(name);
}

test("what nobody needs is deleted, and what is needed of a pack is copied out of it first", async () => {
  const place = await repositoryWith([0, 1, 2, 3], [3], [4]);
  forget(place, 0);
  forget(place, 1);
  const result = await prune(place.repository, EVERYTHING);
  assert.deepEqual([result.unusedPacks, result.repackedPacks], [1, 1]);
  assert.equal(packCount(place), 2);
  assert.ok(result.freedBytes > 20_000);
  await verifyAll(place);
  const again = await prune(place.repository, EVERYTHING);
  assert.deepEqual([again.deletedPacks, again.unusedPacks, again.repackedPacks], [0, 0, 0]);
  assert.equal(again.totalBytes, again.usedBytes + again.unusedBytes);
});

test("a little waste may stay, as told", async () => {
  const place = await repositoryWith([0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5]);
  forget(place, 0);
  assert.equal((await prune(place.repository, { maxUnusedRatio: 0.5 })).repackedPacks, 0);
  assert.equal((await prune(place.repository, { maxUnusedRatio: 0.5, maxRepackBytes: 0 })).repackedPacks, 0);
  assert.equal((await prune(place.repository, EVERYTHING)).repackedPacks, 1);
  await verifyAll(place);
});

test("many small packs are merged", async () => {
  const contents = Array.from({ length: 17 }, (_, at) => [at % 12, (at * 5 + 1 + Math.floor(at / 12)) % 12]);
  const place = await repositoryWith(...contents.map((content) => content.sort((a, b) => a - b)));
  await prune(place.repository);
  assert.ok(packCount(place) <= 2, `${packCount(place)} packs`);
  assert.ok(namesOf(place, PREFIXES.index).length <= 2);
  await verifyAll(place);
});

test("a dry run tells and changes nothing", async () => {
  const place = await repositoryWith([0, 1, 2, 3], [3], [4]);
  forget(place, 0);
  noteElsewhere(place, "a");
  const [note] = namesOf(place, PREFIXES.running);
  place.storage.objects.get(note)!.modifiedMs = 0;
  const before = [...place.storage.objects.keys()];
  const { deletedPacks, freedBytes } = await prune(place.repository, { ...EVERYTHING, dryRun: true });
  assert.equal(deletedPacks, 1);
  assert.ok(freedBytes > 0);
  assert.deepEqual([...place.storage.objects.keys()], before);
});

test("garbage waits for those who were writing when it was condemned, and for nobody who began later", async () => {
  const place = await repositoryWith([0], [1]);
  forget(place, 0);
  const endFirst = noteElsewhere(place, "a");
  const waiting = await prune(place.repository, EVERYTHING);
  assert.deepEqual([waiting.deletedPacks, waiting.waitingPacks], [0, 1]);
  assert.match(waiting.waitingFor.join(), /backup on elsewhere/);
  noteElsewhere(place, "b");
  assert.equal((await prune(place.repository, EVERYTHING)).deletedPacks, 0);
  assert.equal(namesOf(place, PREFIXES.condemned).length, 1);
  endFirst();
  const freed = await prune(place.repository, EVERYTHING);
  assert.deepEqual([freed.deletedPacks, freed.waitingPacks], [1, 0]);
  assert.ok(freed.freedBytes > 6000);
  assert.equal(namesOf(place, PREFIXES.condemned).length, 0);
  await verifyAll(place);
});

test("where somebody is always writing, garbage still goes, each at its time", async () => {
  const place = await repositoryWith([11]);
  const ends: (() => void)[] = [];
  for (let round = 0; round < 6; round++) {
    ends.push(noteElsewhere(place, "0123456789abcdef"[round]));
    const content = [round];
    place.saved.set(await saveTiny(place.repository, content), content);
    if (round > 0) forget(place, place.saved.size - 2);
    await prune(place.repository, EVERYTHING);
    if (round > 0) ends[round - 1]();
    // Two rounds' garbage at most.
    assert.ok(packCount(place) <= 4, `${packCount(place)} packs in round ${round}`);
    await verifyAll(place);
  }
});

test("a run that renews its note is still the same run", async () => {
  const place = await repositoryWith([0], [1]);
  forget(place, 0);
  const note = await noteRunning(place.storage, "backup");
  await prune(place.repository, EVERYTHING);
  assert.equal(await note.renewForGood(), true);
  assert.equal((await prune(place.repository, EVERYTHING)).deletedPacks, 0);
  await note.remove();
  assert.equal((await prune(place.repository, EVERYTHING)).deletedPacks, 1);
});

test("what a snapshot needs after all is struck off, whether others wait or not", async () => {
  for (const isSomebodyWriting of [false, true]) {
    const place = await repositoryWith([0], [1], [2]);
    const [id, content] = [...place.saved][0];
    const record = place.storage.objects.get(PREFIXES.snapshot + id)!;
    forget(place, 0);
    forget(place, 0);
    noteElsewhere(place, "a");
    assert.equal((await prune(place.repository, EVERYTHING)).waitingPacks, 2);
    if (!isSomebodyWriting) noteElsewhere(place, "a")();
    // As of a run whose record came late.
    place.storage.objects.set(PREFIXES.snapshot + id, record);
    place.saved.set(id, content);
    const { deletedPacks, waitingPacks } = await prune(place.repository, EVERYTHING);
    assert.deepEqual([deletedPacks, waitingPacks], isSomebodyWriting ? [0, 1] : [1, 0]);
    assert.equal(packCount(place), isSomebodyWriting ? 3 : 2);
    await verifyAll(place);
  }
});

for (const [what, isRefused] of [
  ["long lists", (bytes: number) => bytes > 200],
  ["any list", () => true],
] as const) {
  test(`a disc too full for ${what} of what goes is freed all the same`, async () => {
    const place = await repositoryWith([0], [1], [2], [3]);
    for (let times = 0; times < 3; times++) forget(place, 0);
    let isFull = true;
    const full: Storage = {
      ...place.storage,
      put: async (name, content) => {
        const sizeBytes = content.reduce((sum, part) => sum + part.length, 0);
        if (isFull && (!name.startsWith(PREFIXES.condemned) || isRefused(sizeBytes))) throw discFull();
        return place.storage.put(name, content);
      },
      delete: async (name) => {
        if (name.startsWith(PREFIXES.pack)) isFull = false;
        await place.storage.delete(name);
      },
    };
    const { deletedPacks } = await prune({ ...place.repository, storage: full }, EVERYTHING);
    assert.equal(deletedPacks, 3);
    assert.equal(packCount(place), 1);
    assert.equal(namesOf(place, PREFIXES.condemned).length, 0);
    await verifyAll(place);
  });
}

test("a prune that breaks off at any call loses nothing, and the next one finishes", async () => {
  let isReached = true;
  for (let at = 0; isReached; at++) {
    const place = await repositoryWith([0, 1, 2, 3], [3, 4], [5]);
    forget(place, 0);
    forget(place, 1);
    isReached = false;
    const failing = faultyStorage(place.storage, ({ index }) => {
      if (index < at) return undefined;
      isReached = true;
      return { failBefore: inputOutputError() };
    });
    await prune({ ...place.repository, storage: failing }, EVERYTHING).catch((error: unknown) => {
      if (!(error instanceof HoldfastError)) throw error;
    });
    await verifyAll(place);
    for (const note of namesOf(place, PREFIXES.running)) place.storage.objects.delete(note);
    await prune(place.repository, EVERYTHING);
    await prune(place.repository, EVERYTHING);
    assert.equal(packCount(place), 2, `broken off at call ${at}`);
    assert.equal(namesOf(place, PREFIXES.condemned).length, 0);
    await verifyAll(place);
  }
});

test("snapshots that need what is nowhere are told of", async () => {
  const place = await repositoryWith([0], [1]);
  const [first] = namesOf(place, PREFIXES.pack);
  place.storage.objects.delete(first);
  const { damagedSnapshots } = await prune(place.repository, EVERYTHING);
  assert.deepEqual([...damagedSnapshots], [[[...place.saved.keys()][0], 2]]);
});

test("an index that says less of a pack than is in it does not make prune lose the rest", async () => {
  const place = await repositoryWith([0, 1, 2, 3], [3]);
  forget(place, 0);
  const [name] = namesOf(place, PREFIXES.index);
  const index = decodeIndex(place.storage.objects.get(name)!.bytes);
  const packs = [packOf(index, 0)].map((pack) => ({ ...pack, frames: pack.frames.slice(0, 2) }));
  const parts = encodeIndex({ repositoryId: place.repository.ring.repositoryId, packs, sections: index.sections });
  place.storage.objects.delete(name);
  await place.storage.put(PREFIXES.index + sha256Hex(...parts), parts);
  await prune(place.repository, EVERYTHING).catch((error: unknown) => {
    if (!(error instanceof HoldfastError)) throw error;
  });
  await repairIndex(place.repository, { onProblem: () => undefined });
  await verifyAll(place);
});

test("a prune that is told to stop has deleted nothing, or goes through", async () => {
  for (let at = 1; ; at++) {
    const place = await repositoryWith([0, 1, 2, 3], [3, 4], [5]);
    forget(place, 0);
    const before = namesOf(place, PREFIXES.pack);
    const controller = new AbortController();
    let calls = 0;
    const counting = faultyStorage(place.storage, () => {
      if (++calls === at) controller.abort(new InterruptedError("stopped"));
      return undefined;
    });
    const options = { ...EVERYTHING, signal: controller.signal };
    const ended = await prune({ ...place.repository, storage: counting }, options).catch((error: unknown) => error);
    if (ended instanceof InterruptedError) {
      for (const name of before) assert.ok(namesOf(place, PREFIXES.pack).includes(name), `stopped at call ${at}`);
      assert.deepEqual(namesOf(place, PREFIXES.running), []);
    } else {
      assert.ok(before.some((name) => !namesOf(place, PREFIXES.pack).includes(name)));
    }
    await verifyAll(place);
    if (calls < at) break;
  }
});
