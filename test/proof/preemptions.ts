/**
 * Two or three that work on one repository, switched between on purpose: each schedule says after how many calls of one the
 * next goes on. All schedules of a scenario that switch so often can be gone through, where `interleave.ts` tries some of
 * any kind. After each switch every acknowledged snapshot must read as it was saved, and in the end all must be sound.
 *
 *     npm run proof:preemptions -- [--seconds 60] [--all] [--scenario NAME]
 */
import { parseArgs } from "node:util";
import type { KeyRing } from "../../src/crypto/key-ring.ts";
import { HoldfastError } from "../../src/errors.ts";
import { PREFIXES } from "../../src/format/names.ts";
import { checkRepository } from "../../src/repository/check.ts";
import { prune } from "../../src/repository/prune.ts";
import { openRepository } from "../../src/repository/repository.ts";
import type { Repository } from "../../src/repository/repository.ts";
import { inputOutputError } from "../../src/storage/faulty.ts";
import { memoryStorage } from "../../src/storage/memory.ts";
import type { MemoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { seededRandom } from "../../src/storage/testing/random.ts";
import type { SeededRandom } from "../../src/storage/testing/random.ts";
import { newRepository } from "../support/library-repository.ts";
import { saveTiny, verifyTiny } from "../support/tiny-backup.ts";
import type { TinyContent } from "../support/tiny-backup.ts";

/** What all share in one schedule. */
interface World {
  readonly storage: MemoryStorage;
  readonly ring: KeyRing;
  readonly acknowledged: Map<string, TinyContent>;
  readonly tally: Tally;
}

export interface Tally {
  schedules: number;
  snapshots: number;
  refusals: number;
  deletedPacks: number;
}

type Body = (world: World, storage: Storage) => Promise<void>;

export interface Scenario {
  readonly name: string;
  /** Makes what is there before; what it acknowledges must be there ever after. */
  readonly setUp: (repository: Repository, world: World) => Promise<void>;
  readonly actors: readonly Body[];
}

/** How many calls of which actor come next; the rest runs in order of the actors. */
export type Schedule = readonly { readonly actor: number; readonly calls: number }[];

const EVERYTHING = { maxUnusedRatio: 0 };

const backup =
  (content: TinyContent): Body =>
  async ({ ring, acknowledged, tally }, storage) => {
    try {
      acknowledged.set(await saveTiny(await openRepository(storage, { ring }), content), content);
      tally.snapshots++;
    } catch (error) {
      // It may end without a snapshot, if it says so.
      if (!(error instanceof HoldfastError)) throw error;
      tally.refusals++;
    }
  };

/** A backup that is taken for dead in the middle: somebody removes its note, at any moment from its start on. */
const takeForDead: Body = async (_world, storage) => {
  for await (const { name } of storage.list(PREFIXES.running)) if (!/0{32}$/.test(name)) await storage.delete(name);
};

const pruning: Body = async ({ ring, tally }, storage) => {
  tally.deletedPacks += (await prune(await openRepository(storage, { ring }), EVERYTHING)).deletedPacks;
};

/** Pruning beside another: one of them may find that the other was faster, and say so. */
const pruningBesideAnother: Body = async (world, storage) => {
  try {
    await pruning(world, storage);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    world.tally.refusals++;
  }
};

/** The same where the other's note does not keep it out: as after `unlock`, or where two notice a dead one at once. */
const pruningUnlocked: Body = async (world, storage) => {
  const unlocked: Storage = {
    ...storage,
    put: async (name, content) => {
      if (/\/0{32}$/.test(name)) await storage.delete(name);
      return storage.put(name, content);
    },
  };
  await pruningBesideAnother(world, unlocked);
};

const reading: Body = async ({ ring, acknowledged }, storage) => {
  for (const [id, content] of Array.from(acknowledged)) await verifyTiny(storage, ring, id, content);
};

async function forget({ storage, acknowledged }: World, id: string): Promise<void> {
  acknowledged.delete(id);
  await storage.delete(PREFIXES.snapshot + id);
}

/**
 * A snapshot that stays, and two that were forgotten and whose pieces the next backup finds lying about: in a pack of which
 * something is still needed, and in one of which nothing is.
 */
async function withForgotten(repository: Repository, world: World): Promise<void> {
  const shared = await saveTiny(repository, [0, 1, 2, 3]);
  const apart = await saveTiny(repository, [4, 5]);
  world.acknowledged.set(await saveTiny(repository, [0, 1]), [0, 1]);
  for (const id of [shared, apart]) await forget(world, id);
}

/** A snapshot that needs little of a frame of which a forgotten one needed all, and one that needs all of another. */
async function withSparseFrames(repository: Repository, world: World): Promise<void> {
  const whole = await saveTiny(repository, [0, 1, 2, 3, 4, 5], "one for all");
  world.acknowledged.set(await saveTiny(repository, [0, 1]), [0, 1]);
  world.acknowledged.set(await saveTiny(repository, [8, 9], "one for all"), [8, 9]);
  await forget(world, whole);
}

/** The same, with what a prune has left that broke off when it had laid the frame anew. */
async function withLeftStandIns(repository: Repository, world: World): Promise<void> {
  await withSparseFrames(repository, world);
  const dying: Storage = {
    ...world.storage,
    put: async (name, content) => {
      if (name.startsWith(PREFIXES.condemned)) throw inputOutputError();
      return world.storage.put(name, content);
    },
  };
  await prune({ ...repository, storage: dying }, EVERYTHING).catch((error: unknown) => {
    if (!(error instanceof HoldfastError)) throw error;
  });
  for (const name of world.storage.objects.keys())
    if (name.startsWith(PREFIXES.running)) world.storage.objects.delete(name);
}

/** The same, with a condemnation that waits because somebody was writing. */
async function withCondemned(repository: Repository, world: World): Promise<void> {
  await withForgotten(repository, world);
  const note = `${PREFIXES.running}${"a".repeat(32)}`;
  const started = new Date().toISOString();
  const text = JSON.stringify({ host: "elsewhere", process: 1, started, what: "backup" });
  await world.storage.put(note, [Buffer.from(text)]);
  await prune(repository, EVERYTHING);
  await world.storage.delete(note);
}

/** The same, and the pack of a backup that died before its index. */
async function withUnlisted(repository: Repository, world: World): Promise<void> {
  await withForgotten(repository, world);
  const before = new Set(world.storage.objects.keys());
  const dead = await saveTiny(repository, [6, 7]);
  for (const name of world.storage.objects.keys()) {
    if (!before.has(name) && !name.startsWith(PREFIXES.pack)) world.storage.objects.delete(name);
  }
  world.acknowledged.delete(dead);
}

/** So many indexes that whoever saves next merges them. Few snapshots are left. */
async function withManyIndexes(repository: Repository, world: World): Promise<void> {
  for (let run = 0; run < 33; run++) {
    const content = [run % 12, (run * 5) % 11];
    const id = await saveTiny(
      repository,
      [...new Set(content)].sort((a, b) => a - b),
    );
    if (run % 16 === 0)
      world.acknowledged.set(
        id,
        [...new Set(content)].sort((a, b) => a - b),
      );
    else await forget(world, id);
  }
}

export const SCENARIOS: readonly Scenario[] = [
  { name: "backup and prune", setUp: withForgotten, actors: [backup([0, 2, 4, 8]), pruning] },
  { name: "backup and prune with condemned packs", setUp: withCondemned, actors: [backup([0, 2, 4, 8]), pruning] },
  { name: "backup and prune with unlisted packs", setUp: withUnlisted, actors: [backup([2, 4, 6, 8]), pruning] },
  {
    name: "a backup that is taken for dead, and prune",
    setUp: withForgotten,
    actors: [backup([0, 2, 4, 8]), pruning, takeForDead],
  },
  {
    name: "a backup that is taken for dead, and prune with condemned packs",
    setUp: withCondemned,
    actors: [backup([0, 2, 4, 8]), pruning, takeForDead],
  },
  {
    name: "two prunes that do not keep each other out",
    setUp: withForgotten,
    actors: [pruningBesideAnother, pruningUnlocked],
  },
  {
    name: "two prunes that do not keep each other out, and a backup",
    setUp: withCondemned,
    actors: [pruningBesideAnother, pruningUnlocked, backup([2, 4, 8])],
  },
  { name: "two backups and a prune", setUp: withForgotten, actors: [backup([2, 4, 8]), backup([3, 4, 8]), pruning] },
  {
    name: "a backup that merges indexes, and prune",
    setUp: withManyIndexes,
    actors: [backup([0, 2, 4, 8]), pruning],
  },
  {
    name: "two backups that merge indexes, and a reader",
    setUp: withManyIndexes,
    actors: [backup([0, 2, 4]), backup([1, 4, 8]), reading],
  },
  {
    name: "backup and a prune that lays frames anew",
    setUp: withSparseFrames,
    actors: [backup([0, 2, 4, 8]), pruning],
  },
  {
    name: "backup and a prune that lays frames anew as one before it did",
    setUp: withLeftStandIns,
    actors: [backup([0, 2, 4, 8]), pruning],
  },
  {
    name: "a backup that is taken for dead, and a prune that lays frames anew",
    setUp: withLeftStandIns,
    actors: [backup([0, 2, 4, 8]), pruning, takeForDead],
  },
  { name: "a reader and prune that lays frames anew", setUp: withLeftStandIns, actors: [reading, pruning] },
  { name: "a reader and prune", setUp: withForgotten, actors: [reading, pruning] },
  { name: "a reader, a backup and prune", setUp: withForgotten, actors: [reading, backup([2, 4]), pruning] },
];

/** What must go wrong: a backup whose notes are written nowhere, and to whom nothing seems to be condemned. */
export const withoutProtection: Scenario = {
  name: "a backup without notes, and prune",
  setUp: withForgotten,
  actors: [
    (world, storage) => {
      const careless: Storage = {
        ...storage,
        put: (name, content) =>
          name.startsWith(PREFIXES.running) ? Promise.resolve(true) : storage.put(name, content),
        stat: (name) =>
          name.startsWith(PREFIXES.running)
            ? Promise.resolve({ name, sizeBytes: 1, modifiedMs: 0 })
            : storage.stat(name),
        async *list(prefix) {
          if (prefix !== PREFIXES.condemned) yield* storage.list(prefix);
        },
      };
      return backup([0, 2, 4, 8])(world, careless);
    },
    pruning,
  ],
};

interface Actor {
  /** Lets it do so many calls; resolves when it waits for the next, or has ended. */
  advance(calls: number): Promise<void>;
  readonly calls: number;
  readonly ended: boolean;
}

function startActor(storage: Storage, body: (storage: Storage) => Promise<void>): Actor {
  const waiting: (() => void)[] = [];
  let calls = 0;
  let ended = false;
  let failure: { readonly error: unknown } | undefined;
  const turn = (): Promise<void> => new Promise((resolve) => waiting.push(resolve));
  const gated: Storage = {
    location: storage.location,
    put: async (name, content) => {
      await turn();
      return storage.put(name, content);
    },
    get: async (name, range) => {
      await turn();
      return storage.get(name, range);
    },
    stat: async (name) => {
      await turn();
      return storage.stat(name);
    },
    delete: async (name) => {
      await turn();
      return storage.delete(name);
    },
    async *list(prefix) {
      await turn();
      yield* storage.list(prefix);
    },
    close: () => storage.close(),
  };
  void body(gated)
    .catch((error: unknown) => (failure = { error }))
    .finally(() => (ended = true));

  const settle = async (): Promise<void> => {
    while (!ended && waiting.length === 0) await new Promise(setImmediate);
    if (failure !== undefined) throw failure.error;
  };

  return {
    async advance(count) {
      await settle();
      for (let done = 0; done < count && !ended; done++) {
        calls++;
        waiting.shift()?.();
        await new Promise(setImmediate);
        await settle();
      }
    },
    get calls() {
      return calls;
    },
    get ended() {
      return ended;
    },
  };
}

export interface Stage {
  /** How many calls each actor makes when it runs alone. */
  readonly lengths: readonly number[];
  /** Plays one schedule from the start. Throws where a snapshot that should be there does not read as it was saved. */
  play(schedule: Schedule): Promise<void>;
}

/** Makes what a scenario begins with, once; each schedule gets a copy of it. */
export async function prepare(scenario: Scenario, tally: Tally): Promise<Stage> {
  const first = memoryStorage();
  const repository = await newRepository(first);
  const { ring } = repository;
  const begun: World = { storage: first, ring, acknowledged: new Map(), tally };
  await scenario.setUp(repository, begun);

  function newWorld(): World {
    const storage = memoryStorage();
    for (const [name, object] of first.objects) storage.objects.set(name, object);
    return { storage, ring, acknowledged: new Map(begun.acknowledged), tally };
  }

  const lengths: number[] = [];
  for (const body of scenario.actors) {
    const world = newWorld();
    const actor = startActor(world.storage, (storage) => body(world, storage));
    await actor.advance(Infinity);
    lengths.push(actor.calls);
  }
  return { lengths, play: (schedule) => play(scenario, newWorld(), schedule) };
}

async function play(scenario: Scenario, world: World, schedule: Schedule): Promise<void> {
  let deletions = 0;
  const counting: Storage = {
    ...world.storage,
    delete: (name) => {
      deletions++;
      return world.storage.delete(name);
    },
  };
  const actors = scenario.actors.map((body) => startActor(counting, (storage) => body(world, storage)));
  const rest = actors.map((_, actor) => ({ actor, calls: Infinity }));
  try {
    for (const { actor, calls } of [...schedule, ...rest]) {
      const before = [deletions, world.acknowledged.size];
      await actors[actor].advance(calls);
      // Nothing else can take anything away from anybody.
      if (deletions !== before[0] || world.acknowledged.size !== before[1]) await verifyAll(world);
    }
    const repository = await openRepository(world.storage, { ring: world.ring });
    for (let times = 0; times < 2; times++) await prune(repository, EVERYTHING);
    await verifyAll(world);
    await requireSound(repository);
    world.tally.schedules++;
  } catch (cause) {
    throw new Error(`${scenario.name}, ${JSON.stringify(schedule)}: ${String(cause)}`, { cause });
  }
}

async function verifyAll({ storage, ring, acknowledged }: World): Promise<void> {
  for (const [id, content] of acknowledged) await verifyTiny(storage, ring, id, content);
}

async function requireSound(repository: Repository): Promise<void> {
  const problems: string[] = [];
  await checkRepository({
    ...repository,
    readData: { kind: "all" },
    onProblem: ({ severity, object, message }) => severity === "error" && problems.push(`${object}: ${message}`),
  });
  if (problems.length > 0) throw new Error(problems.join("; "));
}

/** All schedules in which the first two actors are switched between twice, the others at every moment in between. */
export function* allSchedules(lengths: readonly number[]): Generator<Schedule> {
  const [first, second, third] = lengths;
  for (let one = 0; one <= first; one++) {
    for (let two = 1; two <= second; two++) {
      for (let three = 1; three <= first - one; three++) {
        const switches = [
          { actor: 0, calls: one },
          { actor: 1, calls: two },
          { actor: 0, calls: three },
        ];
        if (third === undefined) yield [...switches, { actor: 1, calls: Infinity }];
        else for (let at = 0; at <= 3; at++) yield switches.toSpliced(at, 0, { actor: 2, calls: Infinity });
      }
    }
  }
}

/** Some schedule, with up to six switches. What is lost is mostly lost where one goes on to its end while another stands. */
export function someSchedule(lengths: readonly number[], random: SeededRandom): Schedule {
  return Array.from({ length: 1 + random.below(6) }, () => {
    const actor = random.below(lengths.length);
    return { actor, calls: random.chance(0.3) ? Infinity : 1 + random.below(lengths[actor]) };
  });
}

export function emptyTally(): Tally {
  return { schedules: 0, snapshots: 0, refusals: 0, deletedPacks: 0 };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: String(Date.now() % 1e9) },
      all: { type: "boolean", default: false },
      scenario: { type: "string" },
    },
  });
  const scenarios = SCENARIOS.filter(({ name }) => values.scenario === undefined || name.includes(values.scenario));
  for (const scenario of scenarios) {
    const tally = emptyTally();
    const stage = await prepare(scenario, tally);
    const random = seededRandom(Number(values.seed));
    const endMs = performance.now() + (Number(values.seconds) * 1000) / scenarios.length;
    const all = [...allSchedules(stage.lengths)];
    if (values.all) {
      for (const schedule of all) await stage.play(schedule);
    } else {
      for (let turn = 0; performance.now() < endMs; turn++) {
        await stage.play(turn % 2 === 0 ? random.pick(all) : someSchedule(stage.lengths, random));
      }
    }
    process.stdout.write(`${scenario.name} (calls ${stage.lengths.join(", ")}): ${JSON.stringify(tally)}\n`);
  }
}
