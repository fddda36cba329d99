import type { Storage } from "../storage.ts";

/** A storage that counts its reading calls. */
export interface CountingStorage extends Storage {
  /** How many there were, with the steps of listings. */
  readonly calls: number;
}

/**
 * A storage in which something happens once: before its reading call number `at`, counted from 0, where each step of a
 * listing counts as one.
 */
export function withHappening(storage: Storage, at: number, happening: () => Promise<unknown>): CountingStorage {
  let calls = 0;
  const turn = async (): Promise<void> => {
    if (calls++ === at) await happening();
  };
  return {
    get calls() {
      return calls;
    },
    location: storage.location,
    put: storage.put,
    delete: storage.delete,
    close: storage.close,
    get: async (...call: Parameters<Storage["get"]>) => {
      await turn();
      return storage.get(...call);
    },
    stat: async (name) => {
      await turn();
      return storage.stat(name);
    },
    async *list(prefix) {
      await turn();
      for await (const object of storage.list(prefix)) {
        yield object;
        await turn();
      }
    },
  };
}
