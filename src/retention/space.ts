/**
 * When space is made, at whose cost, and where it ends.
 *
 * Pruning for space begins when free space falls under a threshold and ends at twice that, so that it does not run all
 * the time (hysteresis). It takes snapshots from the tail of the order of importance, and never one that the floor
 * protects: rather are new backups refused.
 *
 * A host that suddenly stores far more than it ever did gets only space that is free without pruning, and what it
 * stored so is the first to go when space is needed: so it pushes nobody's snapshots out.
 */
import { orderByImportance } from "./importance.ts";
import { newestFirst, type RetentionSnapshot } from "./snapshot.ts";

/** What the server knows besides. */
export interface StoredSnapshot extends RetentionSnapshot {
  /** Checked (all its frames are there and open, or a drill restored from it). */
  readonly verified: boolean;
  /** It was stored by a run of unusual size that no person has accepted. */
  readonly suddenGrowth: boolean;
}

export interface Floor {
  /** So many of the newest verified snapshots of each group stay. */
  readonly newestVerified: number;
  /** All that are younger stay. */
  readonly youngerThanMs: number;
}

export const DEFAULT_FLOOR: Floor = { newestVerified: 3, youngerThanMs: 7 * 86_400_000 };

/**
 * The snapshots that no policy and no lack of space may take. Where a group has fewer verified snapshots than asked for,
 * its newest unverified ones make up the number. What a sudden growth stored is not among them until a person accepts it:
 * else it would stand for days while good snapshots of others go in its place.
 */
export function protectedByFloor<S extends StoredSnapshot>(
  allSnapshots: readonly S[],
  floor: Floor,
  nowMs: number,
): Set<S> {
  const snapshots = allSnapshots.filter(({ suddenGrowth }) => !suddenGrowth);
  const kept = new Set(snapshots.filter((snapshot) => nowMs - snapshot.timeMs < floor.youngerThanMs));
  for (const members of Map.groupBy(snapshots, ({ host, group }) => JSON.stringify([host, group])).values()) {
    const sorted = newestFirst(members);
    const best = [...sorted.filter(({ verified }) => verified), ...sorted.filter(({ verified }) => !verified)];
    for (const snapshot of best.slice(0, floor.newestVerified)) kept.add(snapshot);
  }
  return kept;
}

export interface SpaceThresholds {
  /** Make space when less than this is free. */
  readonly startBelowBytes: number;
  /** Go on until this much is free. */
  readonly stopAtBytes: number;
  /** Refuse new backups when less than this is free: pruning itself needs room for what it writes. */
  readonly refuseBelowBytes: number;
}

/**
 * Start under the larger of 5 % and 1.5 times the mean of the last ten backups (bytes stored by each), stop at twice
 * that. First backups are large: never more than a quarter of the storage is asked for at the start.
 */
export function spaceThresholds(totalBytes: number, recentBackupsBytes: readonly number[]): SpaceThresholds {
  const lastTen = recentBackupsBytes.slice(-10);
  const meanBytes = lastTen.length === 0 ? 0 : lastTen.reduce((sum, bytes) => sum + bytes, 0) / lastTen.length;
  const startBelowBytes = Math.min(Math.max(totalBytes * 0.05, meanBytes * 1.5), totalBytes / 4);
  return { startBelowBytes, stopAtBytes: startBelowBytes * 2, refuseBelowBytes: totalBytes * 0.01 };
}

/** All snapshots in the order in which they stay: by importance, and those of a sudden growth after all others. */
export function orderToKeep<S extends StoredSnapshot>(snapshots: readonly S[], nowMs: number): S[] {
  const usual = snapshots.filter(({ suddenGrowth }) => !suddenGrowth);
  const sudden = snapshots.filter(({ suddenGrowth }) => suddenGrowth);
  return [...orderByImportance(usual, nowMs), ...orderByImportance(sudden, nowMs)];
}

/** How many bytes must be released now; 0 where nothing has to be done. */
export function bytesToRelease(freeBytes: number, onTheirWayBytes: number, thresholds: SpaceThresholds): number {
  // What is forgotten but not yet deleted (grace period) will be free: not to count it would forget twice as much.
  const soonFreeBytes = freeBytes + onTheirWayBytes;
  return soonFreeBytes < thresholds.startBelowBytes ? thresholds.stopAtBytes - soonFreeBytes : 0;
}

export interface Sharer {
  readonly usedBytes: number;
  /** Among which it divides what it uses. */
  readonly hosts: number;
}

/**
 * Divides what must be released among those who share a disc: whoever uses most for each host gives first, until all that
 * give are level. Nobody gives more than it uses.
 */
export function sharesOfNeed(sharers: readonly Sharer[], neededBytes: number): number[] {
  const byUse = sharers.toSorted((a, b) => b.usedBytes / b.hosts - a.usedBytes / a.hosts);
  let level = 0;
  let usedBytes = 0;
  let hosts = 0;
  for (const [place, sharer] of byUse.entries()) {
    usedBytes += sharer.usedBytes;
    hosts += sharer.hosts;
    // What each host of those so far keeps, where only they give.
    level = Math.max(0, (usedBytes - neededBytes) / hosts);
    const next = byUse[place + 1];
    if (next === undefined || level >= next.usedBytes / next.hosts) break;
  }
  return sharers.map((sharer) => Math.max(0, sharer.usedBytes - level * sharer.hosts));
}

export interface ForgetForSpace<S> {
  /** In the order in which they go. */
  readonly forget: readonly S[];
  readonly releasedBytes: number;
  /** False where the floor was reached first. */
  readonly enough: boolean;
}

/**
 * Takes snapshots from the tail of `order` until `neededBytes` are released. `releasedBytes` is asked for one snapshot
 * after another and says what becomes free when this one goes after those before.
 */
export function forgetForSpace<S>(
  order: readonly S[],
  kept: ReadonlySet<S>,
  neededBytes: number,
  releasedBytes: (snapshot: S) => number,
): ForgetForSpace<S> {
  const forget: S[] = [];
  let released = 0;
  for (let position = order.length - 1; position >= 0 && released < neededBytes; position--) {
    if (kept.has(order[position])) continue;
    forget.push(order[position]);
    released += releasedBytes(order[position]);
  }
  return { forget, releasedBytes: released, enough: released >= neededBytes };
}

/** What one earlier run of a host stored, oldest first in a list. */
export interface EarlierRun {
  readonly storedBytes: number;
  readonly suddenGrowth: boolean;
  /** A person looked at its sudden growth and found it good. */
  readonly accepted: boolean;
}

/**
 * How much a run may store and still count as usual for its host: ten times the median of its history, or a quarter more
 * than a size it has reached three times or that a person accepted. Not less than a hundredth of its fair share (all
 * storage divided by the hosts), so that small hosts are not suspected for trifles. The first run of a host, which
 * stores everything, and the two after it may take the whole fair share.
 */
export function usualRunLimitBytes(earlierRuns: readonly EarlierRun[], fairShareBytes: number): number {
  const [, ...later] = earlierRuns;
  const usual = later.filter(({ suddenGrowth, accepted }) => !suddenGrowth || accepted).slice(-60);
  if (usual.length < 2) return fairShareBytes;
  const sizes = usual.map(({ storedBytes }) => storedBytes).toSorted((a, b) => a - b);
  const acceptedSizes = usual.filter(({ accepted }) => accepted).map(({ storedBytes }) => storedBytes);
  return Math.max(
    sizes[sizes.length >> 1] * 10,
    (sizes.at(-3) ?? 0) * 1.25,
    Math.max(0, ...acceptedSizes) * 1.25,
    fairShareBytes / 100,
  );
}

export interface Quota {
  /** Above this, an alert goes out and the owner's own snapshots are thinned. */
  readonly softBytes: number;
  /** Nothing beyond this is stored. */
  readonly hardBytes: number;
}

export interface AdmissionRequest {
  readonly freeBytes: number;
  readonly thresholds: SpaceThresholds;
  /** From `usualRunLimitBytes`. */
  readonly usualLimitBytes: number;
  readonly host: { readonly usedBytes: number; readonly quota: Quota | undefined };
  readonly account: { readonly usedBytes: number; readonly quota: Quota | undefined };
}

export interface Admission {
  /** How much the run may store; 0: refuse it. */
  readonly allowedBytes: number;
  readonly limitedBy: "host quota" | "account quota" | "sudden growth" | "free space";
}

/** How much a run that is about to begin may store, and what sets the limit. */
export function admitRun({ freeBytes, thresholds, usualLimitBytes, host, account }: AdmissionRequest): Admission {
  const limits: Admission[] = [
    { allowedBytes: freeBytes - thresholds.refuseBelowBytes, limitedBy: "free space" },
    // Beyond what is usual, only what no pruning would have to make room for.
    { allowedBytes: Math.max(usualLimitBytes, freeBytes - thresholds.stopAtBytes), limitedBy: "sudden growth" },
    { allowedBytes: (host.quota?.hardBytes ?? Infinity) - host.usedBytes, limitedBy: "host quota" },
    { allowedBytes: (account.quota?.hardBytes ?? Infinity) - account.usedBytes, limitedBy: "account quota" },
  ];
  const tightest = limits.reduce((least, limit) => (limit.allowedBytes < least.allowedBytes ? limit : least));
  return { ...tightest, allowedBytes: Math.max(0, tightest.allowedBytes) };
}

/** How much of its own an owner must give up to come under its soft quota; 0 where it is under. */
export function bytesOverSoftQuota(usedBytes: number, quota: Quota | undefined): number {
  return quota === undefined ? 0 : Math.max(0, usedBytes - quota.softBytes);
}
