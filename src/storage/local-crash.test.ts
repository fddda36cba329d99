import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ObjectMissingError, StorageError } from "../errors.ts";
import type { Disk } from "./disk.ts";
import { storageOnDisk } from "./local.ts";
import { storageConformance } from "./storage.conformance.ts";
import type { Storage } from "./storage.ts";
import { seededRandom } from "./testing/random.ts";
import type { SeededRandom } from "./testing/random.ts";
import { losePowerAt, simulatedDisk } from "./testing/simulated-disk.ts";
import type { DiskPlan, SimulatedDisk } from "./testing/simulated-disk.ts";

/** How many sequences are tried; each is cut short after every one of its disc operations. */
const SEQUENCES = Number(process.env.HOLDFAST_CRASH_SEQUENCES ?? 12);
const CRASHES_AT_EACH_POINT = 6;

storageConformance("local storage on a simulated disc with short reads and writes", async () => {
  const shortTransfers: DiskPlan = ({ operation, index }) =>
    operation === "write" || operation === "read" ? { atMostBytes: 3_000_000 + (index % 7) } : undefined;
  const storage = storageOnDisk(simulatedDisk().process(shortTransfers));
  return { storage, dispose: () => storage.close() };
});

describe("local storage when the power fails", () => {
  it("keeps every acknowledged put and delete, and never shows a torn object", async () => {
    for (let seed = 0; seed < SEQUENCES; seed++) await crashEverywhere(seed, (disk) => disk);
  });

  // The same test must fail for a storage that takes a short cut, or it proves nothing.
  const shortCuts: { what: string; cut: (disk: Disk) => Disk }[] = [
    {
      what: "does not sync the file",
      cut: (disk) => ({
        ...disk,
        create: async (path) => ({ ...(await disk.create(path)), sync: async () => undefined }),
      }),
    },
    { what: "does not sync folders", cut: (disk) => ({ ...disk, syncFolder: async () => undefined }) },
    {
      what: "does not sync the folder above a new folder",
      cut: (disk) => ({
        ...disk,
        syncFolder: async (path) => (path === "" || path === "packs" ? undefined : disk.syncFolder(path)),
      }),
    },
    {
      what: "gives the file its name before it is synced",
      cut: (disk) => {
        let syncLate = async (): Promise<void> => undefined;
        return {
          ...disk,
          create: async (path) => {
            const file = await disk.create(path);
            syncLate = file.sync;
            return { ...file, sync: async () => undefined };
          },
          moveIfAbsent: async (from, to) => {
            await disk.moveIfAbsent(from, to);
            await syncLate();
          },
        };
      },
    },
  ];
  for (const { what, cut } of shortCuts) {
    it(`is caught by this test when it ${what}`, async () => {
      await assert.rejects(
        async () => {
          for (let seed = 0; seed < 12; seed++) await crashEverywhere(seed, cut);
        },
        { name: "AssertionError" },
      );
    });
  }

  it("says that an object is there only when it is durable, whoever stored it", async () => {
    // One process dies at each point of a put; another puts the same; then the power fails.
    for (let deadAt = 0; deadAt < 20; deadAt++) {
      for (let seed = 0; seed < 20; seed++) {
        const disk = simulatedDisk(Date.now, seed);
        const killed = storageOnDisk(disk.process(losePowerAt(deadAt)));
        await killed.put("packs/ab/object", [contentOf("object")]).catch(() => undefined);
        await storageOnDisk(disk.process()).put("packs/ab/object", [contentOf("object")]);
        const found = storageOnDisk(disk.crash(seed).process());
        assert.deepEqual(Buffer.from(await found.get("packs/ab/object")), contentOf("object"));
      }
    }
  });

  it("keeps what several tasks store and delete at the same time in the same folders", async () => {
    for (let seed = 0; seed < SEQUENCES * 4; seed++) {
      const random = seededRandom(seed);
      const disk = simulatedDisk(Date.now, seed);
      const storage = storageOnDisk(disk.process(losePowerAt(20 + random.below(150))));
      const tasks = Array.from({ length: 4 }, (_, task) => ({ expected: newExpectations(), task }));
      await Promise.all(
        tasks.map(async ({ expected, task }) => {
          const own = seededRandom(seed * 100 + task);
          await runSteps(storage, expected, () => randomStep(own, [`packs/aa/${task}`, `packs/bb/${task}`]));
        }),
      );
      for (let crash = 0; crash < CRASHES_AT_EACH_POINT; crash++) {
        const found = storageOnDisk(disk.crash(seed * 10 + crash).process());
        await verify(found, new Map(tasks.flatMap(({ expected }) => [...expected])));
      }
    }
  });
});

describe("local storage when one disc operation fails", () => {
  const failures = ["ENOSPC", "EIO"].flatMap((errno) =>
    [false, true].map((worksBeforeFailing) => ({ errno, worksBeforeFailing })),
  );
  for (const { errno, worksBeforeFailing } of failures) {
    const how = worksBeforeFailing ? "after its work was done" : "without any effect";
    it(`keeps its word at every operation of a put that fails with ${errno} ${how}`, async () => {
      let failedPuts = 0;
      for (let failAt = 0; ; failAt++) {
        const disk = simulatedDisk(Date.now, failAt);
        const plan: DiskPlan = ({ index }) => (index === failAt ? { errno, worksBeforeFailing } : undefined);
        const process = disk.process(plan);
        const storage = storageOnDisk(process);
        const content = contentOf("packs/ab/object");
        const first = await storage.put("packs/ab/object", [content]).catch((error: unknown) => error);
        if (process.calls.length <= failAt) break;
        if (first instanceof Error) {
          failedPuts++;
          assert.ok(first instanceof StorageError);
          assert.match(first.message, /storing packs\/ab\/object/);
          assert.match(first.message, new RegExp(errno));
          assert.ok(first.hint);
          const seen = await storage.stat("packs/ab/object");
          if (seen !== undefined) assert.equal(seen.sizeBytes, content.length);
        } else {
          assert.deepEqual(Buffer.from(await storage.get("packs/ab/object")), content);
        }
        await storage.put("packs/ab/object", [content]);
        const found = storageOnDisk(disk.crash(failAt).process());
        assert.deepEqual(Buffer.from(await found.get("packs/ab/object")), content);
      }
      assert.ok(failedPuts > 5, `only ${failedPuts} puts failed`);
    });
  }

  it("leaves no temporary file behind when the disc is full", async () => {
    const disk = simulatedDisk();
    const process = disk.process(({ operation, indexOfOperation }) => {
      if (operation !== "write") return undefined;
      return indexOfOperation === 0 ? { atMostBytes: 100 } : { errno: "ENOSPC" };
    });
    const storage = storageOnDisk(process);
    await assert.rejects(storage.put("packs/ab/object", [contentOf("object")]), {
      name: "StorageError",
      message: /the disc is full \(ENOSPC\)/,
      hint: /prune/,
    });
    assert.deepEqual(await process.list("tmp"), []);
    assert.equal(await storage.stat("packs/ab/object"), undefined);
  });

  it("removes temporary files of dead processes when they are a day old", async () => {
    let nowMs = Date.now() - 25 * 60 * 60 * 1000;
    const disk = simulatedDisk(() => nowMs);
    const dying = disk.process(({ operation }) => (operation === "moveIfAbsent" ? { errno: "POWER" } : undefined));
    const leftOver = async (): Promise<void> => {
      const withoutRemove = { ...dying, remove: async () => assert.fail("dead") };
      await assert.rejects(storageOnDisk(withoutRemove).put("packs/ab/object", [contentOf("object")]), StorageError);
    };
    await leftOver();
    nowMs = Date.now();
    await leftOver();
    assert.equal((await dying.list("tmp")).length, 2);
    await storageOnDisk(disk.process()).put("packs/ab/object", [contentOf("object")]);
    assert.equal((await dying.list("tmp")).length, 1);
  });
});

/** Runs one random sequence again and again, losing power at each of its disc operations in turn. */
async function crashEverywhere(seed: number, change: (disk: Disk) => Disk): Promise<void> {
  for (let crashAt = 0; ; crashAt++) {
    const random = seededRandom(seed);
    let steps = 0;
    const names = ["config", "packs/aa/1", "packs/aa/2", "packs/bb/3", "snapshots/4"];
    const nextStep = (): Step | undefined => (steps++ < 8 ? randomStep(random, names) : undefined);
    const disk = simulatedDisk(Date.now, seed);
    const process = disk.process(losePowerAt(crashAt));
    const expected = newExpectations();
    await runSteps(storageOnDisk(change(process)), expected, nextStep);
    for (let crash = 0; crash < CRASHES_AT_EACH_POINT; crash++) {
      const found = disk.crash(crashAt * CRASHES_AT_EACH_POINT + crash);
      await verify(storageOnDisk(found.process()), expected);
      await goOn(found, expected, change, crash);
    }
    if (process.calls.length < crashAt) return;
  }
}

/** After the crash, work goes on: what was kept is kept through the next crash as well, beside what is new. */
async function goOn(
  disk: SimulatedDisk,
  before: Expectations,
  change: (disk: Disk) => Disk,
  seed: number,
): Promise<void> {
  const expected = newExpectations();
  for (const [name, possible] of before) expected.set(name, new Set(possible));
  const storage = storageOnDisk(change(disk.process()));
  for (const [name, possible] of expected) {
    const stored = await storage.put(name, [contentOf(name)]);
    if (stored) assert.ok(possible.has("absent"), `${name} was there, and could be stored again`);
    expected.set(name, new Set(["present"]));
  }
  await verify(storageOnDisk(disk.crash(seed).process()), expected);
}

interface Step {
  readonly kind: "put" | "delete";
  readonly name: string;
}

type Presence = "present" | "absent";

/** What may be found of each object. */
type Expectations = Map<string, Set<Presence>>;

function newExpectations(): Expectations {
  return new Map();
}

function randomStep(random: SeededRandom, names: readonly string[]): Step {
  return { kind: random.chance(0.65) ? "put" : "delete", name: random.pick(names) };
}

/** Carries out steps until one fails (as the power is gone), and notes what must, and what may, be found after it. */
async function runSteps(storage: Storage, expected: Expectations, next: () => Step | undefined): Promise<void> {
  for (let step = next(); step !== undefined; step = next()) {
    const { kind, name } = step;
    const before = expected.get(name) ?? new Set<Presence>(["absent"]);
    const after: Presence = kind === "put" ? "present" : "absent";
    expected.set(name, new Set([...before, after]));
    try {
      if (kind === "put") assert.equal(await storage.put(name, [contentOf(name)]), before.has("absent"));
      else await storage.delete(name);
    } catch (error) {
      assert.ok(error instanceof StorageError, String(error));
      return;
    }
    expected.set(name, new Set([after]));
  }
}

async function verify(storage: Storage, expected: Expectations): Promise<void> {
  const listed = new Set<string>();
  for await (const { name, sizeBytes } of storage.list("")) {
    assert.ok(expected.has(name), `${name} came from nowhere`);
    assert.equal(sizeBytes, contentOf(name).length, `${name} is torn`);
    listed.add(name);
  }
  for (const [name, possible] of expected) {
    const found = await storage.get(name).catch((error: unknown) => {
      if (error instanceof ObjectMissingError) return undefined;
      throw error;
    });
    assert.ok(possible.has(found === undefined ? "absent" : "present"), `${name} is ${found ? "there" : "lost"}`);
    assert.equal(listed.has(name), found !== undefined);
    if (found !== undefined) assert.ok(contentOf(name).equals(found), `${name} is torn`);
  }
}

/** A few sectors, not ending at the end of one; none is of zeros. */
function contentOf(name: string): Buffer {
  return Buffer.from(name.padEnd(20, "-").repeat(71));
}
