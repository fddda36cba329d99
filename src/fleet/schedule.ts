/** When backups are expected. Pure: the clock is passed in. */
import { createHash } from "node:crypto";
import { Cron } from "croner";
import { messageOf, UsageError } from "../errors.ts";

export type Schedule =
  | { readonly kind: "interval"; readonly intervalMs: number }
  /** Five fields, on the clock of the server: crontab(5). */
  | { readonly kind: "cron"; readonly pattern: string };

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const NAMED: Readonly<Record<string, number>> = { hourly: HOUR_MS, daily: 24 * HOUR_MS, weekly: 7 * 24 * HOUR_MS };
const UNIT_MS = { m: 60_000, h: HOUR_MS, d: 24 * HOUR_MS } as const;

/** From `hourly`, `daily`, `weekly`, `every 4h` (`m`, `h`, `d`) or a line of cron such as `30 3 * * *`. Throws `UsageError`. */
export function parseSchedule(text: string): Schedule {
  const word = text.trim();
  if (Object.hasOwn(NAMED, word)) return { kind: "interval", intervalMs: NAMED[word] };
  const match = /^every (\d{1,4})([mhd])$/.exec(word);
  if (match !== null) {
    const intervalMs = Number(match[1]) * UNIT_MS[match[2] as keyof typeof UNIT_MS];
    if (intervalMs >= 5 * 60_000) return { kind: "interval", intervalMs };
    throw new UsageError(`"${word}" is more often than every five minutes`);
  }
  try {
    if (word.split(/\s+/).length !== 5) throw new UsageError("it has not five fields");
    if (new Cron(word, { paused: true }).nextRun() === null) throw new UsageError("it never comes");
  } catch (cause) {
    throw new UsageError(`"${word}" is no schedule: ${messageOf(cause)}`, {
      hint: 'write hourly, daily, weekly, "every 4h", or five fields as in a crontab: "30 3 * * *"',
      cause,
    });
  }
  return { kind: "cron", pattern: word.split(/\s+/).join(" ") };
}

/** When the run after one at `lastMs` is due. */
export function nextDueMs(schedule: Schedule, lastMs: number): number {
  if (schedule.kind === "interval") return lastMs + schedule.intervalMs;
  const next = new Cron(schedule.pattern, { paused: true }).nextRun(new Date(lastMs));
  return next === null ? Infinity : next.getTime();
}

/**
 * How much later than due a host begins, so that not all begin at once: always the same for one name, up to a twelfth of
 * the interval and at most an hour.
 */
export function jitterMs(schedule: Schedule, host: string, lastMs: number): number {
  const spanMs = Math.min((nextDueMs(schedule, lastMs) - lastMs) / 12, HOUR_MS);
  return Math.floor(spanMs * shareOf(host));
}

/** Within these hours of the night, on the clock of the server, hosts are saved whose schedule counts in days. */
const NIGHT_HOURS = 6;

/**
 * When a host shall be saved again that was last saved at `lastMs`. A line of cron says it, but for the jitter. Intervals
 * have places on the clock, other ones for each host and always the same for one, so that a run by hand shifts nothing:
 * the next place that is at least a quarter of the interval after the last snapshot.
 */
export function nextPlaceMs(schedule: Schedule, host: string, lastMs: number): number {
  if (schedule.kind === "cron") return nextDueMs(schedule, lastMs) + jitterMs(schedule, host, lastMs);
  const { intervalMs } = schedule;
  const earliestMs = lastMs + intervalMs / 4;
  const share = shareOf(host);
  if (intervalMs % DAY_MS !== 0) {
    const offsetMs = intervalMs * share;
    return Math.floor(Math.ceil((earliestMs - offsetMs) / intervalMs) * intervalMs + offsetMs);
  }
  const days = intervalMs / DAY_MS;
  const nightMs = Math.floor(NIGHT_HOURS * HOUR_MS * share);
  const earliest = new Date(earliestMs);
  for (let ahead = 0; ; ahead++) {
    const midnight = new Date(earliest.getFullYear(), earliest.getMonth(), earliest.getDate() + ahead);
    const placeMs = midnight.getTime() + nightMs;
    if (placeMs >= earliestMs && isRunDay(midnight, days, share)) return placeMs;
  }
}

/** Weekly is on Sundays; every three days is on other days for each host. */
function isRunDay(midnight: Date, days: number, share: number): boolean {
  const day = Math.round(Date.UTC(midnight.getFullYear(), midnight.getMonth(), midnight.getDate()) / DAY_MS);
  const first = days === 7 ? FIRST_SUNDAY : Math.floor(share * days);
  return (day - first) % days === 0;
}

/** Days after 1970-01-01, which was a Thursday. */
const FIRST_SUNDAY = 3;

/** From 0 to 1, always the same for one name. */
function shareOf(host: string): number {
  return createHash("sha256").update(host).digest().readUInt32BE(0) / 2 ** 32;
}

/** From when on a host counts as silent that was last well at `lastMs`: what is due, and half as long again, at least an hour. */
export function silentFromMs(schedule: Schedule, lastMs: number): number {
  const dueMs = nextDueMs(schedule, lastMs);
  const intervalMs = schedule.kind === "interval" ? schedule.intervalMs : nextDueMs(schedule, dueMs) - dueMs;
  return dueMs + Math.max(HOUR_MS, Math.min(intervalMs / 2, 24 * HOUR_MS));
}
