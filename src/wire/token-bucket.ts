import { setTimeout as wait } from "node:timers/promises";

/** Holds a stream of bytes to a rate. */
export interface TokenBucket {
  /** Resolves when this many bytes may go. */
  take(bytes: number): Promise<void>;
}

/** At most this many bytes a second, of which a quarter second's worth may go at once; undefined for no limit. */
export function createTokenBucket(bytesPerSecond: number | undefined, now = () => performance.now()): TokenBucket {
  if (bytesPerSecond === undefined) return { take: () => Promise.resolve() };
  // When all that was taken so far is paid for.
  let paidMs = now();
  return {
    async take(bytes) {
      paidMs = Math.max(paidMs, now() - 250) + (bytes / bytesPerSecond) * 1000;
      const waitMs = paidMs - now();
      if (waitMs > 1) await wait(waitMs);
    },
  };
}
