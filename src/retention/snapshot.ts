/** What retention knows of a snapshot: plain data, taken from its record and from what the server noted about it. */
export interface RetentionSnapshot {
  readonly id: string;
  /** When it was committed, in ms since 1970, by the clock of whoever committed it. */
  readonly timeMs: number;
  readonly host: string;
  /**
   * Snapshots of one group show the same folders of the same host at different times. Taken from the open part of the
   * record, so that a server without the key can group too.
   */
  readonly group: string;
  /** Empty where they are sealed from us. */
  readonly paths: readonly string[];
  readonly tags: readonly string[];
}

/** Newest first; those of one moment in the order of their ids, so that a result never hangs on the input's order. */
export function newestFirst<S extends { readonly timeMs: number; readonly id: string }>(snapshots: Iterable<S>): S[] {
  return [...snapshots].toSorted((a, b) => b.timeMs - a.timeMs || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
}
