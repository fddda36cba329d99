import { limitReached, type MeasureSpace, type Permit } from "../../fleet/admission.ts";
import type { Account } from "../../fleet/accounts.ts";
import type { Host } from "../../fleet/hosts.ts";
import type { Storage } from "../../storage/storage.ts";

export interface MeteredStorage extends Storage {
  readonly storedBytes: () => number;
}

/** What is given to it counts against what the run may store. `RefusedError` where that is used up, or the disc full. */
export function meteredStorage(
  storage: Storage,
  { host, account, permit, measure }: { host: Host; account: Account; permit: Permit; measure: MeasureSpace },
): MeteredStorage {
  let storedBytes = 0;
  return {
    ...storage,
    storedBytes: () => storedBytes,
    async put(name, content) {
      const bytes = content.reduce((sum, part) => sum + part.length, 0);
      const space = measure(account);
      // Others store at the same time.
      const isFull = space !== undefined && space.freeBytes - bytes < space.totalBytes * 0.01;
      if (isFull) throw limitReached(host, { allowedBytes: 0, limitedBy: "free space" });
      if (storedBytes + bytes > permit.allowedBytes) throw limitReached(host, permit);
      storedBytes += bytes;
      return storage.put(name, content);
    },
  };
}
