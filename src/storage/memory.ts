import { checkObjectName, checkPrefix, checkRange, objectMissing } from "./object-name.ts";
import type { Storage, StoredObject } from "./storage.ts";

export interface MemoryStorage extends Storage {
  /** What is stored, by name: tests may look at it, and damage it. */
  readonly objects: Map<string, { bytes: Uint8Array; modifiedMs: number }>;
}

/** Storage in memory, for tests. `clock` gives the time of storing, in ms since 1970. */
export function memoryStorage(clock: () => number = Date.now): MemoryStorage {
  const objects: MemoryStorage["objects"] = new Map();

  return {
    location: "memory",
    objects,

    async put(name, content) {
      checkObjectName(name);
      // Copied at once, as the caller may use its buffers again when the call resolves.
      const bytes = Buffer.concat(content);
      if (objects.has(name)) return false;
      objects.set(name, { bytes, modifiedMs: clock() });
      return true;
    },

    async get(name, range) {
      checkObjectName(name);
      const found = objects.get(name);
      if (found === undefined) throw objectMissing(name, "memory");
      const { offset, length } = range ?? { offset: 0, length: found.bytes.byteLength };
      checkRange(name, { offset, length }, found.bytes.byteLength);
      return new Uint8Array(found.bytes.subarray(offset, offset + length));
    },

    async *list(prefix) {
      checkPrefix(prefix);
      const names = [...objects.keys()].filter((name) => name.startsWith(prefix));
      for (const name of names) {
        const found = objects.get(name);
        if (found !== undefined) yield storedObject(name, found);
      }
    },

    async stat(name) {
      checkObjectName(name);
      const found = objects.get(name);
      return found && storedObject(name, found);
    },

    async delete(name) {
      checkObjectName(name);
      objects.delete(name);
    },

    async close() {},
  };
}

function storedObject(name: string, { bytes, modifiedMs }: { bytes: Uint8Array; modifiedMs: number }): StoredObject {
  return { name, sizeBytes: bytes.byteLength, modifiedMs };
}
