/** Runs: tries at a backup, what came of them, and what they had to say. */
import { sql } from "kysely";
import type { Database } from "./database/open.ts";
import type { RunLogTable, RunTable } from "./database/schema.ts";
import type { EarlierRun } from "../retention/space.ts";

export interface Run {
  readonly id: number;
  readonly host: string;
  /** When a person asked for it; null for those that came by themselves. */
  readonly wantedMs: number | null;
  /** Of one that waits: since when. */
  readonly startedMs: number;
  readonly endedMs: number | null;
  readonly state: RunTable["state"];
  readonly snapshot: string | null;
  readonly files: number;
  readonly sizeBytes: number;
  readonly addedBytes: number;
  readonly storedBytes: number;
  /** It stored far more than is usual for its host. */
  readonly suddenGrowth: boolean;
  readonly accepted: boolean;
  readonly error: string | null;
}

export interface LogLine {
  readonly id: number;
  readonly atMs: number;
  readonly level: RunLogTable["level"];
  readonly message: string;
}

/** Longest log that a run may leave; a hostile host could fill the disc with more. */
export const MAXIMUM_LOG_LINES = 10_000;
const MAXIMUM_MESSAGE_LENGTH = 4096;

/** Begins a run of a host, or the one of it that waits. Gives its number. */
export async function beginRun(database: Database, hostId: number, nowMs: number): Promise<number> {
  const waiting = await waitingRun(database, hostId);
  if (waiting !== undefined) {
    await database
      .updateTable("runs")
      .set({ state: "running", started_ms: nowMs })
      .where("id", "=", waiting)
      .where("state", "=", "waiting")
      .execute();
    return waiting;
  }
  const { insertId } = await database
    .insertInto("runs")
    .values({ host_id: hostId, started_ms: nowMs, state: "running" })
    .executeTakeFirstOrThrow();
  return Number(insertId);
}

async function waitingRun(database: Database, hostId: number): Promise<number | undefined> {
  const waiting = database.selectFrom("runs").select("id").where("state", "=", "waiting").where("host_id", "=", hostId);
  return (await waiting.orderBy("id").limit(1).executeTakeFirst())?.id;
}

/** A person wants a run of a host. Gives the run that waits for the host, or is under way already. */
export async function wantRun(database: Database, hostId: number, nowMs: number): Promise<Run> {
  const open = await database
    .selectFrom("runs")
    .select("id")
    .where("state", "in", ["waiting", "running"])
    .where("host_id", "=", hostId)
    .orderBy("id", "desc")
    .limit(1)
    .executeTakeFirst();
  if (open !== undefined) return (await findRun(database, open.id))!;
  const { insertId } = await database
    .insertInto("runs")
    .values({ host_id: hostId, wanted_ms: nowMs, started_ms: nowMs, state: "waiting" })
    .executeTakeFirstOrThrow();
  return (await findRun(database, Number(insertId)))!;
}

/** Whether a person wants a run of the host that has not begun. */
export async function isRunWanted(database: Database, hostId: number): Promise<boolean> {
  return (await waitingRun(database, hostId)) !== undefined;
}

/** Nobody wants the run any more that waits for a host. False where none does. */
export async function takeBackRun(database: Database, hostId: number): Promise<boolean> {
  const { numDeletedRows } = await database
    .deleteFrom("runs")
    .where("state", "=", "waiting")
    .where("host_id", "=", hostId)
    .executeTakeFirstOrThrow();
  return numDeletedRows > 0n;
}

const HOUR_MS = 3_600_000;
/** A hostile host could fill the disc with more. */
const REFUSALS_AN_HOUR = 20;

/**
 * Records that a host was not let in, and why. The same refusal again within an hour only makes the one known last
 * longer, and of different ones not all are recorded where they come by the dozen.
 */
export async function noteRefusal(database: Database, hostId: number, reason: string, nowMs: number): Promise<void> {
  const error = reason.slice(0, MAXIMUM_MESSAGE_LENGTH);
  if (await isRunWanted(database, hostId)) {
    return endRun(database, await beginRun(database, hostId, nowMs), { state: "refused", error }, nowMs);
  }
  const recent = await database
    .selectFrom("runs")
    .select(["id", "error"])
    .where("host_id", "=", hostId)
    .where("started_ms", ">", nowMs - HOUR_MS)
    .where("state", "=", "refused")
    .limit(REFUSALS_AN_HOUR)
    .execute();
  const same = recent.find((run) => run.error === error);
  if (same !== undefined) {
    await database.updateTable("runs").set({ ended_ms: nowMs }).where("id", "=", same.id).execute();
  } else if (recent.length < REFUSALS_AN_HOUR) {
    await database
      .insertInto("runs")
      .values({ host_id: hostId, started_ms: nowMs, ended_ms: nowMs, state: "refused", error })
      .execute();
  }
}

export interface HistoryLimits {
  /** Older runs and jobs go. */
  readonly days: number;
  /** So many runs of each host stay at most, and as many jobs of each kind. */
  readonly runs: number;
}

export const DEFAULT_HISTORY: HistoryLimits = { days: 400, runs: 2000 };

/** What the growth guard looks at. */
const KEPT_SNAPSHOT_RUNS = 100;
const DELETED_AT_ONCE = 2000;

/**
 * Deletes what is older or more than the limits allow, some of it at a time. Stays: each host's last run and its last
 * hundred with a snapshot, a sudden growth whose snapshot stands, the last job of each kind and its last success.
 * Gives how many went; to be called again until it is none.
 */
export async function trimHistory(database: Database, { days, runs }: HistoryLimits, nowMs: number): Promise<number> {
  const beforeMs = nowMs - days * 24 * HOUR_MS;
  const deletedRuns = await sql`
    DELETE FROM runs WHERE id IN (
      SELECT id FROM (
        SELECT id, state, snapshot, started_ms, sudden_growth, accepted,
          row_number() OVER (PARTITION BY host_id ORDER BY id DESC) AS place,
          row_number() OVER (PARTITION BY host_id, snapshot IS NULL ORDER BY id DESC) AS place_of_kind
        FROM runs)
      WHERE place > 1 AND state NOT IN ('waiting', 'running') AND (place > ${runs} OR started_ms < ${beforeMs})
        AND NOT (snapshot IS NOT NULL AND place_of_kind <= ${KEPT_SNAPSHOT_RUNS})
        AND NOT (sudden_growth = 1 AND accepted = 0 AND snapshot IN (SELECT id FROM snapshots))
      LIMIT ${DELETED_AT_ONCE})`.execute(database);
  const deletedJobs = await sql`
    DELETE FROM maintenance WHERE id IN (
      SELECT id FROM (
        SELECT id, state, started_ms,
          row_number() OVER (PARTITION BY account_id, kind, host ORDER BY id DESC) AS place,
          row_number() OVER (PARTITION BY account_id, kind, host, state ORDER BY id DESC) AS place_of_state
        FROM maintenance)
      WHERE place > 1 AND state <> 'running' AND (place > ${runs} OR started_ms < ${beforeMs})
        AND NOT (state = 'succeeded' AND place_of_state = 1)
      LIMIT ${DELETED_AT_ONCE})`.execute(database);
  return Number((deletedRuns.numAffectedRows ?? 0n) + (deletedJobs.numAffectedRows ?? 0n));
}

export interface RunEnd {
  readonly state: Exclude<RunTable["state"], "waiting" | "running">;
  readonly snapshot?: string;
  readonly files?: number;
  readonly sizeBytes?: number;
  readonly addedBytes?: number;
  readonly storedBytes?: number;
  readonly suddenGrowth?: boolean;
  readonly error?: string;
}

/** Only the first end of a run counts. */
export async function endRun(database: Database, id: number, end: RunEnd, nowMs: number): Promise<void> {
  await database
    .updateTable("runs")
    .set({
      ended_ms: nowMs,
      state: end.state,
      snapshot: end.snapshot ?? null,
      files: end.files ?? 0,
      size_bytes: end.sizeBytes ?? 0,
      added_bytes: end.addedBytes ?? 0,
      stored_bytes: end.storedBytes ?? 0,
      sudden_growth: end.suddenGrowth === true ? 1 : 0,
      error: end.error?.slice(0, MAXIMUM_MESSAGE_LENGTH) ?? null,
    })
    .where("id", "=", id)
    .where("state", "=", "running")
    .execute();
}

/** A line of the run's log; those beyond the longest log are dropped. */
export async function logRun(
  database: Database,
  id: number,
  level: LogLine["level"],
  message: string,
  nowMs: number,
): Promise<void> {
  const { lines } = await database
    .selectFrom("run_log")
    .select((count) => count.fn.countAll<number>().as("lines"))
    .where("run_id", "=", id)
    .executeTakeFirstOrThrow();
  if (lines > MAXIMUM_LOG_LINES) return;
  const text = lines === MAXIMUM_LOG_LINES ? "the log is full: what follows is left out" : message;
  await database
    .insertInto("run_log")
    .values({ run_id: id, at_ms: nowMs, level, message: text.slice(0, MAXIMUM_MESSAGE_LENGTH) })
    .execute();
}

/** Runs that the server's last end cut off. Gives how many there were. */
export async function endInterruptedRuns(database: Database, nowMs: number): Promise<number> {
  const { numUpdatedRows } = await database
    .updateTable("runs")
    .set({ state: "failed", ended_ms: nowMs, error: "the server was stopped while the run was under way" })
    .where("state", "=", "running")
    .executeTakeFirstOrThrow();
  return Number(numUpdatedRows);
}

export interface RunFilter {
  readonly host?: string | undefined;
  readonly state?: Run["state"] | undefined;
  readonly limit: number;
}

function runQuery(database: Database) {
  return database
    .selectFrom("runs")
    .innerJoin("hosts", "hosts.id", "runs.host_id")
    .selectAll("runs")
    .select("hosts.name");
}

type RunRow = Awaited<ReturnType<ReturnType<typeof runQuery>["execute"]>>[number];

function runOf(row: RunRow): Run {
  return {
    id: row.id,
    host: row.name,
    wantedMs: row.wanted_ms,
    startedMs: row.started_ms,
    endedMs: row.ended_ms,
    state: row.state,
    snapshot: row.snapshot,
    files: row.files,
    sizeBytes: row.size_bytes,
    addedBytes: row.added_bytes,
    storedBytes: row.stored_bytes,
    suddenGrowth: row.sudden_growth === 1,
    accepted: row.accepted === 1,
    error: row.error,
  };
}

/** The latest first. */
export async function listRuns(database: Database, { host, state, limit }: RunFilter): Promise<Run[]> {
  let query = runQuery(database);
  if (host !== undefined) query = query.where("hosts.name", "=", host);
  if (state !== undefined) query = query.where("runs.state", "=", state);
  return (await query.orderBy("runs.id", "desc").limit(limit).execute()).map(runOf);
}

export async function findRun(database: Database, id: number): Promise<Run | undefined> {
  const row = await runQuery(database).where("runs.id", "=", id).executeTakeFirst();
  return row && runOf(row);
}

/** Lines of a run's log behind the line `afterId`, oldest first. */
export async function readRunLog(database: Database, id: number, afterId: number, limit: number): Promise<LogLine[]> {
  const rows = await database
    .selectFrom("run_log")
    .select(["id", "at_ms", "level", "message"])
    .where("run_id", "=", id)
    .where("id", ">", afterId)
    .orderBy("id")
    .limit(limit)
    .execute();
  return rows.map(({ id: lineId, at_ms: atMs, level, message }) => ({ id: lineId, atMs, level, message }));
}

/** A person finds a run's sudden growth good: its like is usual from now on. False where there is no such run. */
export async function acceptGrowth(database: Database, id: number): Promise<boolean> {
  const { numUpdatedRows } = await database
    .updateTable("runs")
    .set({ accepted: 1 })
    .where("id", "=", id)
    .where("sudden_growth", "=", 1)
    .executeTakeFirstOrThrow();
  return numUpdatedRows > 0n;
}

/** What earlier runs of a host stored, oldest first, as the growth guard takes them: the first and the last hundred. */
export async function storedByEarlierRuns(database: Database, hostId: number): Promise<EarlierRun[]> {
  const stored = database
    .selectFrom("runs")
    .select(["id", "stored_bytes", "sudden_growth", "accepted"])
    .where("host_id", "=", hostId)
    .where("snapshot", "is not", null);
  const first = await stored.orderBy("started_ms").limit(1).execute();
  const last = await stored.orderBy("started_ms", "desc").limit(100).execute();
  const rows = [...first, ...last.toReversed().filter(({ id }) => id !== first[0]?.id)];
  return rows.map((row) => ({
    storedBytes: row.stored_bytes,
    suddenGrowth: row.sudden_growth === 1,
    accepted: row.accepted === 1,
  }));
}
