/** Runs: tries at a backup, what came of them, and what they had to say. */
import type { Database } from "./database/open.ts";
import type { RunLogTable, RunTable } from "./database/schema.ts";
import type { EarlierRun } from "../retention/space.ts";

export interface Run {
  readonly id: number;
  readonly host: string;
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

export async function beginRun(database: Database, hostId: number, nowMs: number): Promise<number> {
  const { insertId } = await database
    .insertInto("runs")
    .values({ host_id: hostId, started_ms: nowMs, state: "running" })
    .executeTakeFirstOrThrow();
  return Number(insertId);
}

export interface RunEnd {
  readonly state: Exclude<RunTable["state"], "running">;
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
