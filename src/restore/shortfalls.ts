import type { RawPath } from "../platform/raw-path.ts";
import type { Shortfall } from "./attributes.ts";

/** What could not be had, by kind: how often, and the first path it concerns. */
export interface ShortfallSummary {
  readonly kind: Shortfall;
  readonly count: number;
  readonly firstPath: RawPath;
}

export interface Shortfalls {
  add(this: void, path: RawPath, kind: Shortfall): void;
  summary(): ShortfallSummary[];
}

export function createShortfalls(): Shortfalls {
  const kinds = new Map<Shortfall, { count: number; firstPath: RawPath }>();
  return {
    add(path, kind) {
      const known = kinds.get(kind);
      if (known === undefined) kinds.set(kind, { count: 1, firstPath: path });
      else known.count++;
    },
    summary: () => Array.from(kinds, ([kind, { count, firstPath }]) => ({ kind, count, firstPath })),
  };
}
