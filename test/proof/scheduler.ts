/** Lets several tasks share one storage, and decides before each call whose turn it is: interleavings on purpose. */
import type { Storage } from "../../src/storage/storage.ts";
import type { SeededRandom } from "../../src/storage/testing/random.ts";

export interface Scheduler {
  /** The storage as one client sees it: each call waits for its turn. */
  clientOf(name: string, storage: Storage): Client;
  /** Runs tasks to their ends; `onStep` is called between turns, when nothing moves. */
  run(tasks: readonly (() => Promise<void>)[], onStep: () => Promise<void>): Promise<void>;
  /** Each call that was let through, in order: what to look at when something was found. */
  readonly trace: readonly string[];
}

export interface Client {
  readonly name: string;
  readonly storage: Storage;
  /** From now on it does nothing any more, as if its machine had lost power: its calls never return. */
  crash(): void;
  readonly crashed: boolean;
  /** Resolves when it has crashed. */
  readonly end: Promise<void>;
}

interface Waiting {
  readonly client: string;
  readonly call: string;
  readonly proceed: () => void;
}

export function createScheduler(random: SeededRandom): Scheduler {
  const waiting: Waiting[] = [];
  const trace: string[] = [];

  function clientOf(name: string, storage: Storage): Client {
    let crashed = false;
    let crash = (): void => undefined;
    const end = new Promise<void>((resolve) => {
      crash = () => {
        crashed = true;
        resolve();
      };
    });
    const never = new Promise<never>(() => undefined);
    const turn = (call: string): Promise<void> =>
      crashed ? never : new Promise((resolve) => waiting.push({ client: name, call, proceed: resolve }));
    /** A call has its effect at its turn; a client that has crashed by then does not live to see the answer. */
    const atTurn = async <Result>(call: string, body: () => Promise<Result>): Promise<Result> => {
      await turn(call);
      // A crash while waiting: the call was under way, and may have come through or not.
      if (crashed && random.below(2) === 0) return never;
      const result = await body();
      return crashed ? never : result;
    };
    const scheduled: Storage = {
      location: storage.location,
      put: (object, content) => {
        // The caller may use its buffers again only when the call has resolved, but let us not rely on it.
        const copies = content.map((part) => Uint8Array.from(part));
        return atTurn(`put ${object}`, () => storage.put(object, copies));
      },
      get: (object, range) => atTurn(`get ${object}`, () => storage.get(object, range)),
      stat: (object) => atTurn(`stat ${object}`, () => storage.stat(object)),
      delete: (object) => atTurn(`delete ${object}`, () => storage.delete(object)),
      async *list(prefix) {
        await turn(`list ${prefix}`);
        for await (const object of storage.list(prefix)) {
          if (crashed) await never;
          yield object;
          // Others may add and remove objects while a listing goes on.
          if (random.below(4) === 0) await turn(`list on ${prefix}`);
        }
      },
      close: () => storage.close(),
    };
    return {
      name,
      storage: scheduled,
      crash,
      end,
      get crashed() {
        return crashed;
      },
    };
  }

  async function run(tasks: readonly (() => Promise<void>)[], onStep: () => Promise<void>): Promise<void> {
    let unfinished = tasks.length;
    const failures: unknown[] = [];
    for (const task of tasks) {
      void task()
        .catch((error: unknown) => failures.push(error))
        .finally(() => unfinished--);
    }
    let idle = 0;
    while (unfinished > 0 && failures.length === 0) {
      await new Promise(setImmediate);
      if (waiting.length === 0) {
        if (++idle > 100_000) throw new Error(`nothing moves, and ${unfinished} tasks have not ended`);
        continue;
      }
      idle = 0;
      const [next] = waiting.splice(random.below(waiting.length), 1);
      trace.push(`${next.client}: ${next.call}`);
      next.proceed();
      await new Promise(setImmediate);
      await onStep();
    }
    if (failures.length > 0) throw failures[0];
  }

  return { clientOf, run, trace };
}
