import type { Storage, StoredObject } from "../storage/storage.ts";

/** Listings of one storage, shared by those who ask at the same time. */
export interface SharedListings {
  /** By name. Begun after the call, so it shows all that was stored before. */
  list(prefix: string): Promise<ReadonlyMap<string, StoredObject>>;
}

type Objects = ReadonlyMap<string, StoredObject>;

/** However many ask, at most one listing of a prefix is under way, and one waits for its end. */
export function createSharedListings(storage: Storage): SharedListings {
  const underWay = new Map<string, { current: Promise<Objects>; next: Promise<Objects> | undefined }>();

  function start(prefix: string): Promise<Objects> {
    const current = listAll(storage, prefix);
    const entry = { current, next: undefined };
    underWay.set(prefix, entry);
    const forget = (): void => {
      if (underWay.get(prefix) === entry && entry.next === undefined) underWay.delete(prefix);
    };
    current.then(forget, forget);
    return current;
  }

  return {
    list(prefix) {
      const entry = underWay.get(prefix);
      if (entry === undefined) return start(prefix);
      const afterCurrent = (): Promise<Objects> => start(prefix);
      entry.next ??= entry.current.then(afterCurrent, afterCurrent);
      return entry.next;
    },
  };
}

async function listAll(storage: Storage, prefix: string): Promise<Objects> {
  const objects = new Map<string, StoredObject>();
  for await (const object of storage.list(prefix)) objects.set(object.name, object);
  return objects;
}
