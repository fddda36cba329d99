/**
 * The rules of restic's `forget` (version 0.19; https://restic.readthedocs.io/en/stable/060_forget.html), to the letter:
 * the same snapshots are kept for the same reasons.
 *
 * One point is easily missed: as long as a rule that counts has counts left, it also keeps the oldest snapshot of the
 * group ("oldest daily snapshot"), so that a young history is not cut short.
 */
import { periodNumber, type Calendar, type Period } from "./calendar.ts";
import { newestFirst, type RetentionSnapshot } from "./snapshot.ts";

export interface KeepRules {
  readonly last?: KeepCount;
  readonly hourly?: KeepCount;
  readonly daily?: KeepCount;
  readonly weekly?: KeepCount;
  readonly monthly?: KeepCount;
  readonly yearly?: KeepCount;
  readonly within?: KeepDuration;
  readonly withinHourly?: KeepDuration;
  readonly withinDaily?: KeepDuration;
  readonly withinWeekly?: KeepDuration;
  readonly withinMonthly?: KeepDuration;
  readonly withinYearly?: KeepDuration;
  /** Keep snapshots that have all tags of at least one of these lists. */
  readonly tags?: readonly TagList[];
}

export type KeepCount = number | "unlimited";

/** As a person counts: a month is as long as the calendar says. Hours are hours. */
export interface KeepDuration {
  readonly years: number;
  readonly months: number;
  readonly days: number;
  readonly hours: number;
}

/** All of these; the empty tag stands for "has no tags". */
export type TagList = readonly string[];

export interface GroupBy {
  readonly host: boolean;
  readonly paths: boolean;
  readonly tags: boolean;
}

export const DEFAULT_GROUP_BY: GroupBy = { host: true, paths: true, tags: false };

export interface SnapshotGroup<S> {
  /** What the group has in common; empty for what it was not grouped by. */
  readonly host: string;
  readonly paths: readonly string[];
  readonly tags: readonly string[];
  readonly snapshots: readonly S[];
}

export interface KeepPlan<S> {
  /** Newest first, each with at least one reason. */
  readonly keep: readonly KeptSnapshot<S>[];
  /** Newest first. */
  readonly remove: readonly S[];
}

export interface KeptSnapshot<S> {
  readonly snapshot: S;
  readonly reasons: readonly string[];
}

/**
 * Which snapshots of one group stay. Without any rule that keeps something, nothing stays: callers ask `hasNoRules`
 * first, and refuse a plan that keeps nothing of a group.
 */
export function applyKeepRules<S extends RetentionSnapshot>(
  snapshots: readonly S[],
  rules: KeepRules,
  nowMs: number,
  calendar: Calendar,
): KeepPlan<S> {
  const sorted = newestFirst(snapshots);
  const latestMs = sorted.find((snapshot) => snapshot.timeMs < nowMs)?.timeMs;
  const counters = COUNT_RULES.flatMap(({ key, period }) => {
    const count = rules[key];
    return count === undefined
      ? []
      : [{ key, period, left: count === "unlimited" ? Infinity : count, lastPeriod: NaN }];
  });
  const spans = WITHIN_RULES.flatMap(({ key, name, period }) => {
    const duration = rules[key];
    if (duration === undefined || isZero(duration)) return [];
    return [{ name, duration, period, sinceMs: startOf(duration, latestMs, calendar), lastPeriod: NaN }];
  });
  const within = rules.within === undefined || isZero(rules.within) ? undefined : rules.within;
  const withinSinceMs = within === undefined ? Infinity : startOf(within, latestMs, calendar);

  const keep: KeptSnapshot<S>[] = [];
  const remove: S[] = [];
  for (const [position, snapshot] of sorted.entries()) {
    const reasons: string[] = [];
    const isOldest = position === sorted.length - 1;
    for (const list of rules.tags ?? []) {
      if (hasAllTags(snapshot, list)) reasons.push(`has tags [${list.join(", ")}]`);
    }
    if (within !== undefined && snapshot.timeMs > withinSinceMs) reasons.push(`within ${formatKeepDuration(within)}`);
    for (const counter of counters) {
      if (counter.left <= 0) continue;
      const period = counter.period === undefined ? position : periodNumber(counter.period, snapshot.timeMs, calendar);
      const isNewPeriod = period !== counter.lastPeriod;
      if (!isNewPeriod && !isOldest) continue;
      counter.lastPeriod = period;
      counter.left--;
      reasons.push(`${isNewPeriod ? "" : "oldest "}${counter.key} snapshot`);
    }
    for (const span of spans) {
      if (snapshot.timeMs <= span.sinceMs) continue;
      const period = periodNumber(span.period, snapshot.timeMs, calendar);
      const isNewPeriod = period !== span.lastPeriod;
      if (!isNewPeriod && !isOldest) continue;
      span.lastPeriod = period;
      reasons.push(`${isNewPeriod ? "" : "oldest "}${span.name} within ${formatKeepDuration(span.duration)}`);
    }
    if (reasons.length > 0) keep.push({ snapshot, reasons });
    else remove.push(snapshot);
  }
  return { keep, remove };
}

const COUNT_RULES = [
  { key: "last", period: undefined },
  { key: "hourly", period: "hour" },
  { key: "daily", period: "day" },
  { key: "weekly", period: "week" },
  { key: "monthly", period: "month" },
  { key: "yearly", period: "year" },
] as const satisfies readonly { key: keyof KeepRules; period: Period | undefined }[];

const WITHIN_RULES = [
  { key: "withinHourly", name: "hourly", period: "hour" },
  { key: "withinDaily", name: "daily", period: "day" },
  { key: "withinWeekly", name: "weekly", period: "week" },
  { key: "withinMonthly", name: "monthly", period: "month" },
  { key: "withinYearly", name: "yearly", period: "year" },
] as const satisfies readonly { key: keyof KeepRules; name: string; period: Period }[];

/** No rule at all, or only rules that keep zero. */
export function hasNoRules(rules: KeepRules): boolean {
  return (
    COUNT_RULES.every(({ key }) => rules[key] === undefined || rules[key] === 0) &&
    [rules.within, ...WITHIN_RULES.map(({ key }) => rules[key])].every((one) => one === undefined || isZero(one)) &&
    (rules.tags ?? []).length === 0
  );
}

/** The rules as a sentence: "keep 7 daily, 4 weekly snapshots and all snapshots within 1y of the newest". */
export function describeKeepRules(rules: KeepRules): string {
  const counts = COUNT_RULES.flatMap(({ key }) => {
    const count = rules[key];
    if (count === undefined || count === 0) return [];
    return [`${count === "unlimited" ? "all" : count} ${key === "last" ? "latest" : key}`];
  });
  const spans = WITHIN_RULES.flatMap(({ key, name }) => {
    const duration = rules[key];
    if (duration === undefined || isZero(duration)) return [];
    return [`${name} snapshots within ${formatKeepDuration(duration)}`];
  });
  const listed = [...(counts.length > 0 ? [`${counts.join(", ")} snapshots`] : []), ...spans].join(", ");
  const parts = listed === "" ? [] : [listed];
  const tags = rules.tags ?? [];
  if (tags.length > 0) parts.push(`all snapshots with tags ${tags.map((list) => `[${list.join(", ")}]`).join(" or ")}`);
  if (rules.within !== undefined && !isZero(rules.within)) {
    parts.push(`all snapshots within ${formatKeepDuration(rules.within)} of the newest`);
  }
  return parts.length === 0 ? "keep nothing" : `keep ${parts.join(" and ")}`;
}

/** Groups in the order in which their first snapshot comes; paths and tags count as sets. */
export function groupSnapshots<S extends RetentionSnapshot>(snapshots: readonly S[], by: GroupBy): SnapshotGroup<S>[] {
  const groups = new Map<string, { host: string; paths: string[]; tags: string[]; snapshots: S[] }>();
  for (const snapshot of snapshots) {
    const host = by.host ? snapshot.host : "";
    const paths = by.paths ? [...snapshot.paths].toSorted() : [];
    const tags = by.tags ? [...snapshot.tags].toSorted() : [];
    // Where paths are sealed from us, the record's group tells them apart as well.
    const key = JSON.stringify([host, paths, tags, by.paths && paths.length === 0 ? snapshot.group : ""]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { host, paths, tags, snapshots: [snapshot] });
    else group.snapshots.push(snapshot);
  }
  return [...groups.values()];
}

/** From `host,paths,tags`, any of them, or nothing for one group of all. Undefined if the text is none of this. */
export function parseGroupBy(text: string): GroupBy | undefined {
  const words = text.split(",");
  const known = new Set(["", "host", "hosts", "path", "paths", "tag", "tags"]);
  if (!words.every((word) => known.has(word))) return undefined;
  return {
    host: words.includes("host") || words.includes("hosts"),
    paths: words.includes("path") || words.includes("paths"),
    tags: words.includes("tag") || words.includes("tags"),
  };
}

/** From a whole number or `unlimited`. Undefined if the text is neither. */
export function parseKeepCount(text: string): KeepCount | undefined {
  if (text === "unlimited") return "unlimited";
  if (!/^\d{1,15}$/.test(text)) return undefined;
  return Number(text);
}

/** From `2y5m7d3h`: each unit at most once, in any order. Undefined if the text is not of this form. */
export function parseKeepDuration(text: string): KeepDuration | undefined {
  const duration = { years: 0, months: 0, days: 0, hours: 0 };
  const seen = new Set<string>();
  const parts = text.trim().match(/\d{1,9}[ymdh]/g);
  if (parts === null || parts.join("") !== text.trim()) return undefined;
  for (const part of parts) {
    const unit = part.slice(-1);
    if (seen.has(unit)) return undefined;
    seen.add(unit);
    duration[UNITS[unit as keyof typeof UNITS]] = Number(part.slice(0, -1));
  }
  return duration;
}

const UNITS = { y: "years", m: "months", d: "days", h: "hours" } as const;

export function formatKeepDuration(duration: KeepDuration): string {
  return Object.entries(UNITS)
    .filter(([, name]) => duration[name] !== 0)
    .map(([unit, name]) => `${duration[name]}${unit}`)
    .join("");
}

/** From `tag,tag`: all of them together. */
export function parseTagList(text: string): TagList {
  return text.split(",").map((tag) => tag.trim());
}

/** The snapshot has all of these tags, or the list asks for none and it has none. */
export function hasAllTags(snapshot: { readonly tags: readonly string[] }, list: TagList): boolean {
  for (const tag of list) {
    if (tag === "" && snapshot.tags.length === 0) return true;
    if (!snapshot.tags.includes(tag)) return false;
  }
  return true;
}

function isZero(duration: KeepDuration): boolean {
  return duration.years === 0 && duration.months === 0 && duration.days === 0 && duration.hours === 0;
}

/** Where a span that ends with the latest snapshot begins. If all snapshots lie in the future, all are within. */
function startOf(duration: KeepDuration, latestMs: number | undefined, calendar: Calendar): number {
  if (latestMs === undefined) return -Infinity;
  return calendar.before(latestMs, duration.years, duration.months, duration.days) - duration.hours * 3_600_000;
}
