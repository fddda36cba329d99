/** When the server pulls from a host. Pure: the clock is passed in. */
import { nextPlaceMs, nextDueMs, type Schedule } from "./schedule.ts";

export interface PullHistory {
  readonly host: string;
  readonly schedule: Schedule;
  readonly createdMs: number;
  /** Time of its last snapshot. */
  readonly lastSnapshotMs: number | undefined;
  /** Since then, tries that came to nothing. */
  readonly failures: number;
  /** When the last try ended, however it did. */
  readonly lastEndMs: number | undefined;
}

const FIRST_RETRY_MS = 10 * 60_000;

/** When a new host is pulled from for the first time, unless a person does it: its key must be installed before. */
export function firstPullMs(createdMs: number): number {
  return createdMs + FIRST_RETRY_MS;
}

/**
 * When a pull is due: as the schedule says, at the host's own moment.
 * After a failure it is tried again in 10, 20, 40 … minutes, but no more rarely than the schedule says.
 */
export function nextPullMs({ host, schedule, createdMs, lastSnapshotMs, failures, lastEndMs }: PullHistory): number {
  const due = lastSnapshotMs === undefined ? firstPullMs(createdMs) : nextPlaceMs(schedule, host, lastSnapshotMs);
  if (failures === 0 || lastEndMs === undefined) return due;
  const retryMs = FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 20);
  return Math.max(due, Math.min(lastEndMs + retryMs, nextDueMs(schedule, lastEndMs)));
}
