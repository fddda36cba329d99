import type { Storage } from "./storage.ts";

/** A storage in front of another that reads from it, and takes writes and deletions without doing them: for dry runs. */
export function discardWrites(storage: Storage): Storage {
  return {
    location: storage.location,
    put: async () => true,
    get: (name, range) => storage.get(name, range),
    list: (prefix) => storage.list(prefix),
    stat: (name) => storage.stat(name),
    delete: async () => undefined,
    close: () => storage.close(),
  };
}
