import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { newRepository } from "../../test/support/library-repository.ts";
import { saveTiny, type TinyContent, verifyTiny } from "../../test/support/tiny-backup.ts";
import { decodeIndex, openBlobSection } from "../format/index-object.ts";
import { PREFIXES } from "../format/names.ts";
import { faultyStorage, inputOutputError } from "../storage/faulty.ts";
import { type MemoryStorage, memoryStorage } from "../storage/memory.ts";
import type { Storage } from "../storage/storage.ts";
import { withHappening } from "../storage/testing/happening.ts";
import { indexesToMerge, keepingPacks, mergeIndexes, rewriteIndexes } from "./index-compaction.ts";
import { loadIndex } from "./index-loader.ts";
import type { Repository } from "./repository.ts";

interface Place {
  readonly storage: MemoryStorage;
  readonly repository: Repository;
  readonly saved: Map<string, TinyContent>;
}

const CONTENTS: readonly TinyContent[] = [[0, 1], [1, 2, 3], [3, 4], [0, 5, 6], [7], [8, 9]];

let made: Promise<Place> | undefined;

/** A repository with an index for each of six snapshots: a copy of one that is made once. */
async function sixIndexes(): Promise<Place> {
  made ??= (async () => {
    const storage = memoryStorage();
    const repository = await newRepository(storage);
    const saved = new Map<string, TinyContent>();
    for (const content of CONTENTS) saved.set(await saveTiny(repository, content), content);
    return { storage, repository, saved };
  })();
  const { storage, repository, saved } = await made;
  const copy = memoryStorage();
  for (const [name, object] of storage.objects) copy.objects.set(name, object);
  return { storage: copy, repository: { ...repository, storage: copy }, saved: new Map(saved) };
}

function indexesOf({ storage }: Place): string[] {
  return [...storage.objects.keys()].filter((name) => name.startsWith(PREFIXES.index));
}

async function verifyAll({ storage, repository, saved }: Place): Promise<void> {
  for (const [id, content] of saved) await verifyTiny(storage, repository.ring, id, content);
}

/** What indexes say: packs, and blobs with their frames. */
async function knowledgeOf({ repository }: Place): Promise<{ packs: string[]; frames: number; blobs: number }> {
  const { frames, blobs } = await loadIndex(repository, { forWriting: false });
  return {
    packs: frames.packs.map(({ name }) => name.toString("hex")).sort(),
    frames: frames.count(),
    blobs: blobs.used[0],
  };
}

/** Blobs that stand in all indexes together, however often. */
function listedBlobs({ storage, repository }: Place): number {
  let count = 0;
  for (const name of indexesOf({ storage, repository, saved: new Map() })) {
    for (const section of decodeIndex(storage.objects.get(name)!.bytes).sections) {
      count += openBlobSection(repository.ring.indexKey, repository.ring.repositoryId, section).count;
    }
  }
  return count;
}

const someOf = fc.subarray(CONTENTS.map((_, at) => at));

test("merging any of the indexes, again and again, leaves out nothing", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(someOf, { maxLength: 4 }), async (rounds) => {
      const place = await sixIndexes();
      const before = await knowledgeOf(place);
      for (const round of rounds) {
        const there = indexesOf(place).sort();
        const names = round.flatMap((at) => there[at] ?? []);
        assert.equal(await mergeIndexes(place.repository, names), true);
        assert.equal(indexesOf(place).length, there.length - Math.max(0, names.length - 1));
        assert.deepEqual(await knowledgeOf(place), before);
      }
      await verifyAll(place);
    }),
    { numRuns: 30 },
  );
});

test("rewriting any of the indexes without some packs drops these and nothing else", async () => {
  await fc.assert(
    fc.asyncProperty(someOf, someOf, async (rewritten, dropped) => {
      const place = await sixIndexes();
      const names = indexesOf(place);
      const loaded = await loadIndex(place.repository, { forWriting: true, framesOnly: true });
      const packs = loaded.frames.packs.map(({ name }) => name.toString("hex"));
      const doomed = new Set(dropped.map((at) => packs[at]));
      const chosen = rewritten.map((at) => names[at]);
      const touched = new Set(loaded.objects.flatMap((object) => (chosen.includes(object.name) ? object.packs : [])));
      const keep = keepingPacks(loaded.frames, (pack) => !doomed.has(pack));
      await rewriteIndexes(place.repository, chosen, keep);
      const expected = packs.filter((pack) => !(doomed.has(pack) && touched.has(pack)));
      assert.deepEqual((await knowledgeOf(place)).packs, expected.sort());
      // A pack that no index lists is found by its own directory, so that whatever a snapshot needs can be read.
      await verifyAll(place);
    }),
    { numRuns: 30 },
  );
});

test("what several indexes say alike stands in the merged one once", async () => {
  const place = await sixIndexes();
  const blobs = listedBlobs(place);
  const names = indexesOf(place);
  // As two backups at once that both find a pack which no index lists.
  const copies = await sixIndexes();
  await mergeIndexes(copies.repository, indexesOf(copies));
  const [merged] = indexesOf(copies);
  place.storage.objects.set(merged, copies.storage.objects.get(merged)!);
  assert.equal(listedBlobs(place), 2 * blobs);
  await mergeIndexes(place.repository, [...names, merged]);
  assert.equal(indexesOf(place).length, 1);
  assert.equal(listedBlobs(place), blobs);
  await verifyAll(place);
});

test("blobs of a frame that only another index places stay where all is kept", async () => {
  const place = await sixIndexes();
  const before = await knowledgeOf(place);
  // One index with all packs and no blobs, and one with all blobs and no packs.
  const nothing = { pack: () => false, frame: () => true };
  const names = indexesOf(place);
  const packsOnly = { pack: () => true, frame: () => false };
  const bytes = names.map((name) => [name, place.storage.objects.get(name)!] as const);
  await rewriteIndexes(place.repository, names, nothing);
  const blobsIndex = indexesOf(place);
  for (const [name, object] of bytes) place.storage.objects.set(name, object);
  await rewriteIndexes(place.repository, names, packsOnly);
  assert.deepEqual(await knowledgeOf(place), before);
  await mergeIndexes(place.repository, blobsIndex);
  assert.deepEqual(await knowledgeOf(place), before);
  await verifyAll(place);
});

test("whoever finds that another is merging leaves it to them", async () => {
  const place = await sixIndexes();
  const names = indexesOf(place);
  const objects = new Map(place.storage.objects);
  await mergeIndexes(place.repository, names.slice(0, 3));
  const after = indexesOf(place);
  assert.equal(await mergeIndexes(place.repository, names), false);
  assert.deepEqual(indexesOf(place), after);
  assert.ok(objects.size > 0);
  await verifyAll(place);
});

test("a merge that breaks off at any call loses nothing", async () => {
  let isReached = true;
  for (let at = 0; isReached; at++) {
    const place = await sixIndexes();
    isReached = false;
    const failing = faultyStorage(place.storage, ({ index }) => {
      if (index < at) return undefined;
      isReached = true;
      return { failBefore: inputOutputError() };
    });
    const merging = mergeIndexes({ ...place.repository, storage: failing }, indexesOf(place));
    if (isReached || at > 0) await merging.catch(() => undefined);
    await verifyAll(place);
    await mergeIndexes(place.repository, indexesOf(place));
    await verifyAll(place);
    assert.equal(indexesOf(place).length, 1);
  }
});

test("small indexes are merged when there are many, medium ones only by those who have the time", () => {
  const of = (count: number, sizeBytes: number, name: string) =>
    Array.from({ length: count }, (_, at) => ({ name: `${name}${at}`, sizeBytes }));
  assert.deepEqual(indexesToMerge(of(32, 1000, "s"), true), []);
  assert.equal(indexesToMerge([...of(33, 1000, "s"), ...of(5, 1e6, "m")], false).length, 33);
  assert.deepEqual(indexesToMerge(of(40, 1e6, "m"), false), []);
  assert.equal(indexesToMerge([...of(30, 1e6, "m"), ...of(3, 1000, "s")], true).length, 33);
  assert.deepEqual(indexesToMerge(of(100, 20e6, "l"), true), []);
});

test("a reader finds everything, whenever indexes are merged while it reads", async () => {
  let isReached = true;
  for (let at = 0; isReached; at++) {
    const place = await sixIndexes();
    const hooked = withHappening(place.storage, at, () => mergeIndexes(place.repository, indexesOf(place)));
    await verifyAll({ ...place, repository: { ...place.repository, storage: hooked } });
    for (const [id, content] of place.saved) await verifyTiny(hooked, place.repository.ring, id, content);
    isReached = hooked.calls > at;
    if (at > 60) break;
  }
});

test("a backup finds what is stored, whenever indexes are merged while it begins", async () => {
  for (let at = 0; at < 40; at++) {
    const place = await sixIndexes();
    const packsBefore = [...place.storage.objects.keys()].filter((name) => name.startsWith(PREFIXES.pack)).length;
    const hooked = withHappening(place.storage, at, () => mergeIndexes(place.repository, indexesOf(place)));
    const content = [0, 1, 2, 3, 4];
    place.saved.set(await saveTiny({ ...place.repository, storage: hooked }, content), content);
    await verifyAll(place);
    const packs = [...place.storage.objects.keys()].filter((name) => name.startsWith(PREFIXES.pack));
    // The tree is new, and nothing else.
    assert.equal(packs.length, packsBefore + 1);
    assert.ok(place.storage.objects.get(packs[packs.length - 1])!.bytes.length < 3000);
  }
});

test("with a backup a day for months and nobody pruning, indexes stay few and backups read as few objects as the first", async () => {
  const storage = memoryStorage();
  const repository = await newRepository(storage);
  const saved = new Map<string, TinyContent>();
  const reads: number[] = [];
  for (let day = 0; day < 200; day++) {
    const content = Array.from({ length: 12 }, (_, piece) => piece).filter((piece) => ((day * 7919) >> piece) & 1);
    let read = 0;
    const counting: Storage = {
      ...storage,
      get(...call) {
        read++;
        return storage.get(...call);
      },
    };
    saved.set(await saveTiny({ ...repository, storage: counting }, content), content);
    reads.push(read);
    assert.ok(indexesOf({ storage, repository, saved }).length <= 33);
  }
  // Most days there is one index more than the day before, until they are merged.
  const most = (values: readonly number[]): number => Math.max(...values);
  assert.ok(most(reads.slice(-70)) <= most(reads.slice(0, 70)));
  for (const [id, content] of [...saved].slice(-5)) await verifyTiny(storage, repository.ring, id, content);
});
