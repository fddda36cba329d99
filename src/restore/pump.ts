/** Lets so much work be under way at once, and makes whoever brings more wait. */
export interface Pump {
  /** Resolves when there is room for work that takes so many bytes of memory. Each is followed by one `leave`. */
  enter(bytes: number): Promise<void>;
  leave(bytes: number): void;
}

export function createPump(maximumJobs: number, maximumBytes: number): Pump {
  let jobs = 0;
  let bytesUnderWay = 0;
  let waiting: (() => void)[] = [];

  const change = (): Promise<void> => new Promise((resolve) => waiting.push(resolve));

  return {
    async enter(bytes) {
      // Something larger than all the room goes alone.
      while (jobs > 0 && (jobs >= maximumJobs || bytesUnderWay + bytes > maximumBytes)) await change();
      jobs++;
      bytesUnderWay += bytes;
    },
    leave(bytes) {
      jobs--;
      bytesUnderWay -= bytes;
      const woken = waiting;
      waiting = [];
      for (const wake of woken) wake();
    },
  };
}
