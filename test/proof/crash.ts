/**
 * A history of backups, forgets and prunes on a disc that loses power, or on which a call fails, at any one of its
 * operations. Every snapshot that was acknowledged reads whole afterwards, and work goes on from what is found.
 *
 *     npm run proof:crash -- [--seconds 60] [--seed 1]
 */
import { parseArgs } from "node:util";
import { HoldfastError } from "../../src/errors.ts";
import { PREFIXES } from "../../src/format/names.ts";
import { checkRepository } from "../../src/repository/check.ts";
import { prune } from "../../src/repository/prune.ts";
import type { Repository } from "../../src/repository/repository.ts";
import { removeNotes } from "../../src/repository/running.ts";
import type { Disk } from "../../src/storage/disk.ts";
import { storageOnDisk } from "../../src/storage/local.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { seededRandom } from "../../src/storage/testing/random.ts";
import { losePowerAt, simulatedDisk } from "../../src/storage/testing/simulated-disk.ts";
import type { DiskPlan, SimulatedDisk } from "../../src/storage/testing/simulated-disk.ts";
import { newRepository, reopenRepository } from "../support/library-repository.ts";
import { saveTiny, someContent, verifyTiny } from "../support/tiny-backup.ts";
import type { TinyContent } from "../support/tiny-backup.ts";

/** What must be there: by snapshot id. */
type Acknowledged = Map<string, TinyContent>;

/** A disc that does less than it should, for the proof that this proof can fail. */
export type ShortCut = (disk: Disk) => Disk;

const BACKUPS = 4;

/** A history that the seed makes up; it stops where the disc does. Gives the number of disc operations. */
async function runHistory(
  disk: SimulatedDisk,
  seed: number,
  plan: DiskPlan,
  acknowledged: Acknowledged,
  shortCut: ShortCut = (honest) => honest,
): Promise<number> {
  const random = seededRandom(seed);
  const process = disk.process(plan);
  const storage = storageOnDisk(shortCut(process));
  try {
    const repository = await newRepository(storage);
    for (let run = 0; run < BACKUPS; run++) {
      const content = someContent(random);
      acknowledged.set(await saveTiny(repository, content), content);
      if (run > 0 && random.below(2) === 0)
        await forgetAndPrune(repository, acknowledged, random.below(acknowledged.size));
    }
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
  }
  return process.calls.length;
}

async function forgetAndPrune(repository: Repository, acknowledged: Acknowledged, which: number): Promise<void> {
  const id = [...acknowledged.keys()][which];
  // Whether it is gone for good is only known when this has ended; until then it may be there or not.
  acknowledged.delete(id);
  await repository.storage.delete(PREFIXES.snapshot + id);
  await prune(repository, { maxUnusedRatio: 0 });
}

/** Reads all that was acknowledged, goes on working, and reads it again. */
async function verifyAndGoOn(storage: Storage, acknowledged: Acknowledged): Promise<void> {
  if ((await storage.stat("config")) === undefined) {
    if (acknowledged.size > 0) throw new Error("the repository is gone");
    return;
  }
  await verifyAll(storage, acknowledged);
  // The machine has started anew: none of those who left notes is there any more.
  await removeNotes(storage, true);
  const repository = await reopenRepository(storage);
  const content = someContent(seededRandom(acknowledged.size));
  const all = new Map([...acknowledged, [await saveTiny(repository, content), content]]);
  await prune(repository, { maxUnusedRatio: 0 });
  await verifyAll(storage, all);
  const problems: string[] = [];
  await checkRepository({
    storage,
    config: repository.config,
    ring: repository.ring,
    readData: { kind: "all" },
    onProblem: ({ severity, object, message }) => {
      if (severity === "error") problems.push(`${object}: ${message}`);
    },
  });
  if (problems.length > 0) throw new Error(`check finds: ${problems.join("; ")}`);
}

async function verifyAll(storage: Storage, acknowledged: Acknowledged): Promise<void> {
  const { ring } = await reopenRepository(storage);
  for (const [id, content] of acknowledged) await verifyTiny(storage, ring, id, content);
}

/** Number of disc operations of the history of a seed, when nothing goes wrong. */
export async function historyLength(seed: number): Promise<number> {
  return runHistory(simulatedDisk(Date.now, seed), seed, () => undefined, new Map());
}

/** Cuts the power before operation `at`; then looks at some of the discs that may be found. */
export async function powerCut(seed: number, at: number, finds: number, shortCut?: ShortCut): Promise<void> {
  const disk = simulatedDisk(Date.now, seed);
  const acknowledged: Acknowledged = new Map();
  await runHistory(disk, seed, losePowerAt(at), acknowledged, shortCut);
  for (let found = 0; found < finds; found++) {
    await describingFailure(`seed ${seed}, power cut at ${at}, disc ${found}`, () =>
      verifyAndGoOn(storageOnDisk(disk.crash(seed * 1000 + found).process()), new Map(acknowledged)),
    );
  }
}

/** Lets one disc operation fail, or this and all that write after it (a full disc); then the disc is well again. */
export async function failingCall(seed: number, at: number, errno: "EIO" | "ENOSPC"): Promise<void> {
  const disk = simulatedDisk(Date.now, seed);
  const acknowledged: Acknowledged = new Map();
  const plan: DiskPlan = ({ index, operation }) => {
    if (errno === "EIO") return index === at ? { errno } : undefined;
    return index >= at && ["create", "write", "makeFolder"].includes(operation) ? { errno } : undefined;
  };
  await describingFailure(`seed ${seed}, ${errno} at ${at}`, async () => {
    await runHistory(disk, seed, plan, acknowledged);
    await verifyAndGoOn(storageOnDisk(disk.process()), acknowledged);
  });
}

async function describingFailure(what: string, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (cause) {
    throw new Error(`${what}: ${String(cause)}`, { cause });
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: String(Date.now() % 1e6) },
    },
  });
  const endMs = performance.now() + Number(values.seconds) * 1000;
  const random = seededRandom(Number(values.seed));
  let cuts = 0;
  let failures = 0;
  while (performance.now() < endMs) {
    const seed = random.below(1e9);
    const length = await historyLength(seed);
    for (let times = 0; times < 20 && performance.now() < endMs; times++) {
      await powerCut(seed, random.below(length), 3);
      await failingCall(seed, random.below(length), "EIO");
      await failingCall(seed, random.below(length), "ENOSPC");
      cuts += 3;
      failures += 2;
    }
  }
  process.stdout.write(
    `${cuts} discs after power cuts and ${failures} failed calls, seed ${values.seed}: all was there\n`,
  );
}
