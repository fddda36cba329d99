/**
 * Hourly, daily, weekly, monthly promotion, as rsnapshot's users know it.
 *
 * Each level holds a number of snapshots. A new one enters the first level; when a level holds too many, its oldest
 * leaves. It is promoted to the next level if it lies in another day, week or month (on the calendar) than the newest
 * there, and is forgotten if not. What leaves the last level is forgotten.
 */
import { periodNumber, type Calendar, type Period } from "./calendar.ts";
import { newestFirst, type RetentionSnapshot } from "./snapshot.ts";

export interface PromotionLevels {
  readonly hourly: number;
  readonly daily: number;
  readonly weekly: number;
  readonly monthly: number;
}

export const DEFAULT_PROMOTION: PromotionLevels = { hourly: 6, daily: 7, weekly: 4, monthly: 12 };

export type PromotionLevel = keyof PromotionLevels;

export interface PromotionPlan<S> {
  /** Newest first. */
  readonly keep: readonly { readonly snapshot: S; readonly level: PromotionLevel }[];
  /** Newest first. */
  readonly remove: readonly S[];
}

/**
 * Which snapshots of one group stand, on which level. The order of events does not matter: applied after each new
 * snapshot to what stood before, or once to all that ever were, the result is the same. The newest always stays.
 */
export function promote<S extends RetentionSnapshot>(
  snapshots: readonly S[],
  levels: PromotionLevels,
  calendar: Calendar,
): PromotionPlan<S> {
  const sorted = newestFirst(snapshots);
  const held = LEVELS.map(({ name, period }) => ({ name, period, capacity: levels[name], members: [] as S[] }));
  held[0].capacity = Math.max(held[0].capacity, 1);
  const remove: S[] = [];
  for (const snapshot of sorted.toReversed()) {
    let entering: S | undefined = snapshot;
    for (const level of held) {
      if (entering === undefined) break;
      const newest = level.members.at(-1);
      const isOwnPeriod =
        level.period === undefined ||
        newest === undefined ||
        periodNumber(level.period, newest.timeMs, calendar) !== periodNumber(level.period, entering.timeMs, calendar);
      if (!isOwnPeriod) break;
      level.members.push(entering);
      entering = level.members.length > level.capacity ? level.members.shift() : undefined;
    }
    if (entering !== undefined) remove.push(entering);
  }
  const keep = held.flatMap(({ name, members }) => members.toReversed().map((snapshot) => ({ snapshot, level: name })));
  return { keep, remove: newestFirst(remove) };
}

const LEVELS = [
  { name: "hourly", period: undefined },
  { name: "daily", period: "day" },
  { name: "weekly", period: "week" },
  { name: "monthly", period: "month" },
] as const satisfies readonly { name: PromotionLevel; period: Period | undefined }[];
