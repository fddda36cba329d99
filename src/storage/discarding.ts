import type { Storage, StoredObject } from "./storage.ts";

/**
 * A storage in front of another that reads from it, and takes writes and deletions without doing them: for dry runs. It
 * remembers names and sizes of what was put, so that whoever looks whether it is there finds it; but not the content.
 */
export function discardWrites(storage: Storage): Storage {
  const discarded = new Map<string, StoredObject>();
  return {
    location: storage.location,
    async put(name, content) {
      const sizeBytes = content.reduce((sum, part) => sum + part.length, 0);
      discarded.set(name, { name, sizeBytes, modifiedMs: Date.now() });
      return true;
    },
    get: (name, range) => storage.get(name, range),
    async *list(prefix) {
      yield* storage.list(prefix);
      for (const object of discarded.values()) if (object.name.startsWith(prefix)) yield object;
    },
    stat: async (name) => discarded.get(name) ?? (await storage.stat(name)),
    delete: async () => undefined,
    close: () => storage.close(),
  };
}
