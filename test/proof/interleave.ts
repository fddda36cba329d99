/**
 * Backups, forgets, prunes and readers on one storage, their calls interleaved at random, some of them dying on the way.
 * Whatever happens, every snapshot that was acknowledged and not forgotten reads as it was saved, at any moment.
 *
 *     npm run proof:interleave -- [--seconds 60] [--seed 1] [--two-prunes]
 *
 * With `--two-prunes` the note that keeps prunes apart is taken away as well, as if its prune were dead.
 */
import { parseArgs } from "node:util";
import type { KeyRing } from "../../src/crypto/key-ring.ts";
import { HoldfastError, LockedError } from "../../src/errors.ts";
import { PREFIXES } from "../../src/format/names.ts";
import { prune } from "../../src/repository/prune.ts";
import { openRepository } from "../../src/repository/repository.ts";
import { memoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { seededRandom } from "../../src/storage/testing/random.ts";
import type { SeededRandom } from "../../src/storage/testing/random.ts";
import { newRepository } from "../support/library-repository.ts";
import { saveTiny, someContent, verifyTiny } from "../support/tiny-backup.ts";
import type { TinyContent } from "../support/tiny-backup.ts";
import { createScheduler } from "./scheduler.ts";
import type { Client, Scheduler } from "./scheduler.ts";

export interface InterleaveOptions {
  /** Clients die at random moments; what they were writing may have come through or not. */
  readonly crashes: boolean;
  /** Whose notes are taken away while they live, as if they were taken for dead. */
  readonly liveNotesVanish: "none" | "backup" | "prune";
}

export interface InterleaveTally {
  snapshots: number;
  refusedBackups: number;
  prunes: number;
  deletedPacks: number;
  crashes: number;
  checks: number;
}

/** One history, made up from the seed. Throws where a snapshot that should be there can't be read as it was saved. */
export async function interleave(seed: number, options: InterleaveOptions, tally: InterleaveTally): Promise<void> {
  const random = seededRandom(seed);
  const storage = memoryStorage();
  const { ring } = await newRepository(storage);
  const scheduler = createScheduler(random);
  const acknowledged = new Map<string, TinyContent>();
  const history: History = { storage, ring, random, scheduler, acknowledged, notes: new Map(), clients: [], tally };

  const tasks = [
    ...Array.from({ length: 2 + random.below(2) }, (_, number) => backupTask(history, `backup ${number}`)),
    ...Array.from({ length: 1 + random.below(2) }, (_, number) => pruneTask(history, `prune ${number}`)),
    readTask(history, "reader"),
  ];
  try {
    await scheduler.run(tasks, async () => {
      if (options.crashes && random.below(150) === 0) crashOne(history);
      if (options.liveNotesVanish !== "none" && random.below(12) === 0) {
        await dropOneNote(history, options.liveNotesVanish);
      }
      if (random.below(60) === 0) await verifyAll(history);
    });
    // Whatever is left behind, two prunes later it is gone; and what should be there is.
    for (const name of storage.objects.keys()) if (name.startsWith(PREFIXES.running)) storage.objects.delete(name);
    const repository = await openRepository(storage, { ring });
    for (let times = 0; times < 2; times++) await prune(repository, { maxUnusedRatio: 0 });
    await verifyAll(history);
  } catch (cause) {
    const lastCalls = scheduler.trace.slice(-400).join("\n");
    throw new Error(`seed ${seed}: ${String(cause)}\n${lastCalls}`, { cause });
  }
}

interface History {
  readonly storage: ReturnType<typeof memoryStorage>;
  readonly ring: KeyRing;
  readonly random: SeededRandom;
  readonly scheduler: Scheduler;
  readonly acknowledged: Map<string, TinyContent>;
  /** Notes under `running/`, by the client that put them there. */
  readonly notes: Map<string, string>;
  readonly clients: Client[];
  readonly tally: InterleaveTally;
}

/** A client whose notes are known. */
function newClient(history: History, name: string): Client {
  const { storage, notes, scheduler, clients } = history;
  const noting: Storage = {
    ...storage,
    put: async (object, content) => {
      const isNew = await storage.put(object, content);
      if (isNew && object.startsWith(PREFIXES.running)) notes.set(object, name);
      return isNew;
    },
  };
  const client = scheduler.clientOf(name, noting);
  clients.push(client);
  return client;
}

/** Some backups one after another; a client that dies is started again, as a machine would be. */
function backupTask(history: History, name: string): () => Promise<void> {
  return async () => {
    for (let run = 0; run < 3; run++) {
      const client = newClient(history, `${name}.${run}`);
      await Promise.race([saveOnce(history, client), client.end]);
    }
  };
}

async function saveOnce({ ring, random, acknowledged, tally }: History, { storage }: Client): Promise<void> {
  const content = someContent(random);
  try {
    const repository = await openRepository(storage, { ring });
    acknowledged.set(await saveTiny(repository, content, random.pick(["one each", "one for all"])), content);
    tally.snapshots++;
  } catch (error) {
    // A backup may end without a snapshot, if it says so.
    if (!(error instanceof HoldfastError)) throw error;
    tally.refusedBackups++;
  }
}

/** Forgets some snapshots and prunes, a few times over. */
function pruneTask(history: History, name: string): () => Promise<void> {
  const { ring, random, acknowledged, tally } = history;
  return async () => {
    for (let run = 0; run < 4; run++) {
      const client = newClient(history, `${name}.${run}`);
      const body = async (): Promise<void> => {
        const repository = await openRepository(client.storage, { ring });
        for (const id of Array.from(acknowledged.keys()).filter(() => random.below(3) === 0)) {
          acknowledged.delete(id);
          await client.storage.delete(PREFIXES.snapshot + id);
        }
        try {
          const { deletedPacks } = await prune(repository, { maxUnusedRatio: 0 });
          tally.deletedPacks += deletedPacks;
          tally.prunes++;
        } catch (error) {
          if (!(error instanceof LockedError)) throw error;
        }
      };
      await Promise.race([body(), client.end]);
    }
  };
}

/** Reads snapshots while others write and prune. */
function readTask(history: History, name: string): () => Promise<void> {
  const { acknowledged, random } = history;
  return async () => {
    for (let run = 0; run < 6; run++) {
      const client = newClient(history, `${name}.${run}`);
      const some = [...acknowledged];
      if (some.length === 0) continue;
      const [id, content] = random.pick(some);
      const reading = verifyTiny(client.storage, history.ring, id, content).catch((error: unknown) => {
        // Forgotten meanwhile: then its packs may go as it is being read.
        if (acknowledged.has(id)) throw error;
      });
      await Promise.race([reading, client.end]);
    }
  };
}

/** One that writes dies; its note is recognised as left behind some time later, or not at all. */
function crashOne({ clients, random, notes, storage, tally }: History): void {
  const alive = clients.filter((client) => !client.crashed);
  if (alive.length === 0) return;
  const victim = random.pick(alive);
  victim.crash();
  tally.crashes++;
  if (random.below(3) === 0) return;
  setImmediate(() => {
    for (const [note, owner] of notes) if (owner === victim.name) storage.objects.delete(note);
  });
}

async function dropOneNote({ storage, notes, random }: History, whose: string): Promise<void> {
  const live = [...notes].flatMap(([note, owner]) =>
    owner.startsWith(whose) && storage.objects.has(note) ? [note] : [],
  );
  if (live.length > 0) await storage.delete(random.pick(live));
}

async function verifyAll({ storage, ring, acknowledged, tally }: History): Promise<void> {
  for (const [id, content] of Array.from(acknowledged)) {
    await verifyTiny(storage, ring, id, content);
    tally.checks++;
  }
}

export function emptyTally(): InterleaveTally {
  return { snapshots: 0, refusedBackups: 0, prunes: 0, deletedPacks: 0, crashes: 0, checks: 0 };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: String(Date.now() % 1e9) },
    },
  });
  const kinds: readonly InterleaveOptions[] = [
    { crashes: false, liveNotesVanish: "none" },
    { crashes: true, liveNotesVanish: "none" },
    { crashes: true, liveNotesVanish: "backup" },
  ];
  for (const options of kinds) {
    const tally = emptyTally();
    const endMs = performance.now() + (Number(values.seconds) * 1000) / kinds.length;
    let seed = Number(values.seed);
    for (; performance.now() < endMs; seed++) await interleave(seed, options, tally);
    process.stdout.write(`${JSON.stringify(options)} seeds ${values.seed} to ${seed - 1}: ${JSON.stringify(tally)}\n`);
  }
}
