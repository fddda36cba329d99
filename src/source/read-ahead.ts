import type { Source, SourceEntry } from "./source.ts";

/**
 * Begins to list a source at once, and holds up to `entries` of it until somebody asks: a walk that goes on while a
 * password is being checked.
 */
export function readAhead(source: Source, entries: number): Source {
  const listing = source.entries()[Symbol.asyncIterator]();
  const batches: Promise<IteratorResult<readonly SourceEntry[]>>[] = [];
  let held = 0;
  let taken = false;

  async function fill(): Promise<void> {
    while (!taken && held < entries) {
      const next = listing.next();
      batches.push(next);
      const result = await next;
      if (result.done === true) return;
      held += result.value.length;
      // Others must get their turn, as a walk may never wait for anything.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  // Whoever takes the batches is told of a failure; until then it is nobody's.
  const filling = fill().catch(() => undefined);

  return {
    ...source,
    async *entries() {
      taken = true;
      await filling;
      for (;;) {
        const result = await (batches.shift() ?? listing.next());
        if (result.done === true) return;
        yield result.value;
      }
    },
  };
}
