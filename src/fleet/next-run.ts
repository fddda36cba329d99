/** When a host shall save again, as the server tells it and as `status` shows it. */
import { latestSnapshotMs } from "./catalogue.ts";
import type { Database } from "./database/open.ts";
import type { Host } from "./hosts.ts";
import { findPolicy } from "./policies.ts";
import { isRunWanted } from "./runs.ts";
import { nextPlaceMs, nextDueMs, parseSchedule, type Schedule } from "./schedule.ts";

/** How often agents ask whether they shall save. */
export const ASK_EVERY_MS = 15 * 60_000;

const HOUR_MS = 3_600_000;

export interface NextRun {
  /** On the server's clock; in the past where it should have been. */
  readonly nextRunMs: number;
  /** A person wants it now. */
  readonly wanted: boolean;
}

export async function nextRunOf(database: Database, host: Host, nowMs: number): Promise<NextRun> {
  if (await isRunWanted(database, host.id)) return { nextRunMs: nowMs, wanted: true };
  const { schedule: text } = await findPolicy(database, host.policy);
  const schedule = parseSchedule(text);
  const latestMs = await latestSnapshotMs(database, host);
  const attempt = await database
    .selectFrom("runs")
    .select(["started_ms", "ended_ms", "state"])
    .where("host_id", "=", host.id)
    .orderBy("started_ms", "desc")
    .limit(1)
    .executeTakeFirst();
  // The server ends each run that is not under way any more.
  if (attempt?.state === "running") return { nextRunMs: nowMs + ASK_EVERY_MS, wanted: false };
  const due = latestMs === undefined ? host.createdMs : nextPlaceMs(schedule, host.name, latestMs);
  const isLater = attempt !== undefined && attempt.started_ms > (latestMs ?? -Infinity);
  const retryMs = isLater ? (attempt.ended_ms ?? attempt.started_ms) + retryAfterMs(schedule, attempt.started_ms) : due;
  return { nextRunMs: Math.max(due, retryMs), wanted: false };
}

/** What failed or was refused is not tried again each time that the host asks. */
function retryAfterMs(schedule: Schedule, atMs: number): number {
  return Math.min(HOUR_MS, (nextDueMs(schedule, atMs) - atMs) / 4);
}
