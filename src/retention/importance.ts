/**
 * How much each snapshot is worth keeping, compared with all others.
 *
 * There are targets: now, today and each of the six days before, four weeks, then every 28 days back to the beginning.
 * For each target, each series in turn gives the nearest of its snapshots that is still there. When all targets have
 * been served, it begins again, now halfway between the targets, then at their quarters, and so on. What is taken first
 * is worth most; where space is needed, the tail goes first. So what stands is dense near now and sparse in the past, in
 * even steps, and a host with many snapshots has no more weight than one with few.
 *
 * Targets lie on fixed dates (midnights, UTC; every 7th; every 28th), not at fixed distances from now: each 28th is also
 * a 7th, so the snapshot that stands for a day will later stand for its week, and then for its four weeks. With targets
 * that move along with now, what was nearest yesterday is not today, and the steps grow to one and a half times what they
 * should be (docs/decisions/0013-importance-on-fixed-dates.md).
 *
 * A series is a group: one set of folders of one host. (By host alone, a nightly dump that ends a minute after the
 * nightly run over `/` would be the nearest to every target, and `/` would have no snapshot left.)
 *
 * Adding a snapshot to a series, unless it is older than all others, changes the first n of the series' order by at most
 * one, for every n: at each target, what remains with and without it differs by a single snapshot.
 */
import { newestFirst, type RetentionSnapshot } from "./snapshot.ts";

export const DAY_MS = 86_400_000;

interface Target {
  readonly timeMs: number;
  /** Distance to the next newer target of its kind: where later rounds look in between. */
  readonly stepMs: number;
}

/** Newest first, up to the first that is not after `oldestMs`. */
export function importanceTargets(nowMs: number, oldestMs: number): Target[] {
  const targets: Target[] = [{ timeMs: nowMs, stepMs: 0 }];
  for (const { stepMs, count } of KINDS) {
    const previousMs = targets.length === 1 ? nowMs + 1 : targets[targets.length - 1].timeMs;
    let timeMs = Math.ceil(previousMs / stepMs - 1) * stepMs;
    for (let number = 0; number < count; number++, timeMs -= stepMs) {
      targets.push({ timeMs, stepMs });
      if (timeMs <= oldestMs) return targets;
    }
  }
  return targets;
}

const KINDS = [
  { stepMs: DAY_MS, count: 7 },
  { stepMs: 7 * DAY_MS, count: 4 },
  { stepMs: 28 * DAY_MS, count: Infinity },
] as const;

/**
 * All snapshots, the most important first. Each series is served for no target beyond the first that is older than its
 * own beginning. Within a target, hosts come in the order of their names. Of two snapshots equally near to a target the
 * older is taken.
 */
export function orderByImportance<S extends RetentionSnapshot>(snapshots: readonly S[], nowMs: number): S[] {
  const series = [...Map.groupBy(snapshots, (snapshot) => JSON.stringify([snapshot.host, snapshot.group])).entries()]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, members]) => new RemainingSnapshots(newestFirst(members).toReversed()));
  const targetsOf = series.map((one) => importanceTargets(nowMs, one.oldestMs));
  const longest = targetsOf.reduce((most, targets) => (targets.length > most.length ? targets : most), [] as Target[]);

  const order: S[] = [];
  for (let round = 0; order.length < snapshots.length; round++) {
    const offset = partOfStep(round);
    for (const [number, target] of longest.entries()) {
      for (const [index, one] of series.entries()) {
        if (number >= targetsOf[index].length) continue;
        const nearest = one.takeNearest(target.timeMs + target.stepMs * offset);
        if (nearest !== undefined) order.push(nearest);
      }
    }
  }
  return order;
}

/** 0, 1/2, 1/4, 3/4, 1/8, 5/8, …: the van der Corput sequence, which fills a step evenly however far one follows it. */
function partOfStep(round: number): number {
  let part = 0;
  for (let rest = round, bit = 0.5; rest > 0; rest >>= 1, bit /= 2) if (rest & 1) part += bit;
  return part;
}

/** Snapshots of a series, oldest first, of which each can be taken once; links jump over those that were. */
class RemainingSnapshots<S extends RetentionSnapshot> {
  readonly oldestMs: number;
  readonly #oldestFirst: readonly S[];
  /** For position p + 1: the nearest position at or below p that remains, plus 1; 0 for none. */
  readonly #downwards: Uint32Array;
  /** For position p: the nearest position at or above p that remains; the length for none. */
  readonly #upwards: Uint32Array;

  constructor(oldestFirst: readonly S[]) {
    this.oldestMs = oldestFirst[0].timeMs;
    this.#oldestFirst = oldestFirst;
    this.#downwards = Uint32Array.from({ length: oldestFirst.length + 1 }, (_, position) => position);
    this.#upwards = this.#downwards.slice();
  }

  takeNearest(timeMs: number): S | undefined {
    const start = this.#firstAtOrAfter(timeMs);
    const above = follow(this.#upwards, start);
    const below = follow(this.#downwards, start) - 1;
    const older = below >= 0 ? this.#oldestFirst[below] : undefined;
    const newer = above < this.#oldestFirst.length ? this.#oldestFirst[above] : undefined;
    const takesOlder = older !== undefined && (newer === undefined || timeMs - older.timeMs <= newer.timeMs - timeMs);
    const taken = takesOlder ? below : above;
    if (taken >= this.#oldestFirst.length) return undefined;
    this.#upwards[taken] = taken + 1;
    this.#downwards[taken + 1] = taken;
    return this.#oldestFirst[taken];
  }

  #firstAtOrAfter(timeMs: number): number {
    let low = 0;
    for (let high = this.#oldestFirst.length; low < high;) {
      const middle = (low + high) >> 1;
      if (this.#oldestFirst[middle].timeMs < timeMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Where the links from a position end. Shortens them on the way (path halving), so that later walks are short. */
function follow(links: Uint32Array, from: number): number {
  let at = from;
  while (links[at] !== at) {
    links[at] = links[links[at]];
    at = links[at];
  }
  return at;
}
