/**
 * Damages a small repository in every place, one at a time, and reads all of it: either what comes is what was saved, or
 * it is an error that has a name. Never anything else.
 *
 *     npm run proof:flip -- [--step 1] [--masks 01,80,ff]
 */
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { HoldfastError } from "../../src/errors.ts";
import { memoryStorage } from "../../src/storage/memory.ts";
import type { MemoryStorage } from "../../src/storage/memory.ts";
import { scrambledBytes } from "../support/awkward-tree.ts";
import { newRepository, readEverything, reopenRepository, saveFolder } from "../support/library-repository.ts";
import { withTemporaryFolder } from "../support/temporary-folder.ts";

export interface Damage {
  /** For people: what was done to which object. */
  readonly name: string;
  /** The objects as they are then: bytes, or undefined for one that is gone. */
  readonly objects: ReadonlyMap<string, Uint8Array | undefined>;
}

export interface Tally {
  /** Nothing wrong was seen: the damage lies where it does not matter, or another copy served. */
  unharmed: number;
  /** By the error's code. */
  readonly refused: Map<string, number>;
}

/** A repository with two snapshots that share much, and hold one of each kind of thing. */
export async function smallRepository(): Promise<MemoryStorage> {
  const storage = memoryStorage();
  const repository = await newRepository(storage);
  await withTemporaryFolder(async (folder) => {
    writeFileSync(path.join(folder, "text"), "to be kept\n".repeat(50));
    writeFileSync(path.join(folder, "random"), scrambledBytes("flip", 300));
    writeFileSync(path.join(folder, "sparse"), "at the start");
    truncateSync(path.join(folder, "sparse"), 1024 * 1024);
    symlinkSync("text", path.join(folder, "link"));
    mkdirSync(path.join(folder, "folder"));
    writeFileSync(path.join(folder, "folder/empty"), "");
    await saveFolder(repository, folder, new Date("2026-11-20T10:00:00Z"));
    writeFileSync(path.join(folder, "folder/second"), "new in the second\n");
    await saveFolder(repository, folder, new Date("2026-11-20T11:00:00Z"));
  });
  return storage;
}

/** Every `step`th byte of every object, changed by each mask; `shift` says where to begin. */
export function* flips(storage: MemoryStorage, step: number, masks: readonly number[]): Generator<Damage> {
  for (const [name, { bytes }] of Array.from(storage.objects)) {
    for (let at = 0; at < bytes.length; at += step) {
      for (const mask of masks) {
        const altered = Buffer.from(bytes);
        altered[at] ^= mask;
        yield { name: `byte ${at} of ${name} ^ ${mask.toString(16)}`, objects: new Map([[name, altered]]) };
      }
    }
  }
}

/** Every object cut to every `step`th length, made longer by a byte, and taken away. */
export function* cuts(storage: MemoryStorage, step: number): Generator<Damage> {
  for (const [name, { bytes }] of Array.from(storage.objects)) {
    for (let length = 0; length < bytes.length; length += step) {
      yield { name: `${name} cut to ${length} bytes`, objects: new Map([[name, bytes.subarray(0, length)]]) };
    }
    yield { name: `${name} with a byte more`, objects: new Map([[name, Buffer.concat([bytes, Buffer.alloc(1)])]]) };
    yield { name: `${name} gone`, objects: new Map([[name, undefined]]) };
  }
}

/** Every two objects, each under the other's name. */
export function* swaps(storage: MemoryStorage): Generator<Damage> {
  const objects = [...storage.objects];
  for (const [index, [name, { bytes }]] of objects.entries()) {
    for (const [otherName, { bytes: otherBytes }] of objects.slice(index + 1)) {
      const exchanged = new Map([
        [name, otherBytes],
        [otherName, bytes],
      ]);
      yield { name: `${name} and ${otherName} exchanged`, objects: exchanged };
    }
  }
}

/** Reads everything under each damage. Throws at the first that gave wrong data, or an error that has no name. */
export async function assertNeverWrong(storage: MemoryStorage, damages: Iterable<Damage>): Promise<Tally> {
  const expected = await readEverything(await reopenRepository(storage));
  const tally: Tally = { unharmed: 0, refused: new Map() };
  for (const damage of damages) {
    await underDamage(storage, damage, async () => {
      const outcome = await readAnew(storage);
      if (outcome instanceof HoldfastError) {
        tally.refused.set(outcome.code, (tally.refused.get(outcome.code) ?? 0) + 1);
      } else if (outcome instanceof Error) {
        throw new Error(`${damage.name}: an error without a name`, { cause: outcome });
      } else {
        assertPartOf(outcome, expected, damage.name);
        tally.unharmed++;
      }
    });
  }
  return tally;
}

async function readAnew(storage: MemoryStorage): Promise<Map<string, readonly string[]> | Error> {
  try {
    return await readEverything(await reopenRepository(storage));
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** A snapshot may be missing (its record is gone), but none may be other than it was. */
function assertPartOf(
  seen: ReadonlyMap<string, readonly string[]>,
  expected: ReadonlyMap<string, readonly string[]>,
  damage: string,
): void {
  for (const [id, lines] of seen) {
    if (!isDeepStrictEqual(lines, expected.get(id))) throw new Error(`${damage}: snapshot ${id} reads as another`);
  }
}

/** Puts the damaged objects in place while `body` runs. */
export async function underDamage(storage: MemoryStorage, damage: Damage, body: () => Promise<void>): Promise<void> {
  const before = new Map([...damage.objects.keys()].map((name) => [name, storage.objects.get(name)]));
  for (const [name, bytes] of damage.objects) {
    if (bytes === undefined) storage.objects.delete(name);
    else storage.objects.set(name, { bytes, modifiedMs: Date.now() });
  }
  try {
    await body();
  } finally {
    for (const [name, object] of before) if (object !== undefined) storage.objects.set(name, object);
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { step: { type: "string", default: "1" }, masks: { type: "string", default: "01,80,ff" } },
  });
  const step = Number(values.step);
  const masks = values.masks.split(",").map((mask) => Number.parseInt(mask, 16));
  const storage = await smallRepository();
  const kinds = { flips: flips(storage, step, masks), cuts: cuts(storage, step), swaps: swaps(storage) };
  for (const [kind, damages] of Object.entries(kinds)) {
    const { unharmed, refused } = await assertNeverWrong(storage, damages);
    const errors = Array.from(refused, ([code, count]) => `${count} ${code}`).join(", ");
    process.stdout.write(`${kind}: ${unharmed} without harm; refused: ${errors}\n`);
  }
}
