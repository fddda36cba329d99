import assert from "node:assert/strict";
import { test } from "node:test";
import { newRepository } from "../../test/support/library-repository.ts";
import { saveTiny, type TinyContent, verifyTiny } from "../../test/support/tiny-backup.ts";
import { HoldfastError } from "../errors.ts";
import { PREFIXES } from "../format/names.ts";
import { type MemoryStorage, memoryStorage } from "../storage/memory.ts";
import { prune } from "./prune.ts";
import type { Repository } from "./repository.ts";

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
