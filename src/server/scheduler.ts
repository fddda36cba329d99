/** Starts maintenance when it is due: one job at a time, so that backups have the machine to themselves. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { messageOf } from "../errors.ts";
import { listAccounts, type Account } from "../fleet/accounts.ts";
import { roomOf, type MeasureSpace } from "../fleet/admission.ts";
import type { Database } from "../fleet/database/open.ts";
import { dueJob, type AccountUpkeep, type UpkeepSettings } from "../fleet/due-jobs.ts";
import type { Log } from "./log.ts";
import { endInterruptedJobs, JOB_FAILED, type MaintenanceJob } from "./maintenance-jobs.ts";

export interface SchedulerOptions {
  readonly database: Database;
  readonly settings: UpkeepSettings;
  readonly nowMs: () => number;
  readonly runningBackups: (account: string) => number;
  /** Does a job to its end. */
  readonly perform: (job: MaintenanceJob, signal: AbortSignal) => Promise<void>;
  readonly log: Log;
  readonly measure?: MeasureSpace;
}

export interface Scheduler {
  /** Starts what is due most, unless something is under way. Resolves when that is done. */
  tick(): Promise<void>;
  /** Does a job that a person asked for, after the one that is under way. */
  request(job: MaintenanceJob): Promise<void>;
  /** Stops what is under way. */
  close(): Promise<void>;
}

export function createScheduler(options: SchedulerOptions): Scheduler {
  const { database, log, nowMs } = options;
  const stopping = new AbortController();
  let underWay: Promise<void> | undefined;

  async function perform(job: MaintenanceJob): Promise<void> {
    log("info", `maintenance begins: ${job.kind}`, { ...job });
    try {
      await options.perform(job, stopping.signal);
      // What ended without a word has not recorded its end.
      await endInterruptedJobs(database, nowMs());
    } catch (error) {
      log("error", `maintenance failed: ${messageOf(error)}`, { ...job });
    }
  }

  async function firstDue(): Promise<MaintenanceJob | undefined> {
    for (const account of await listAccounts(database)) {
      try {
        const job = dueJob(await upkeepOf(options, account), options.settings, nowMs());
        if (job !== undefined) return job;
      } catch (error) {
        log("error", `the account "${account.name}" cannot be looked after: ${messageOf(error)}`);
      }
    }
    return undefined;
  }

  function afterwards(work: () => Promise<void>): Promise<void> {
    const mine = (underWay ?? Promise.resolve()).then(work).finally(() => {
      if (underWay === mine) underWay = undefined;
    });
    underWay = mine;
    return mine;
  }

  return {
    async tick() {
      if (underWay !== undefined || stopping.signal.aborted) return;
      await afterwards(async () => {
        const job = await firstDue();
        if (job !== undefined && !stopping.signal.aborted) await perform(job);
      });
    },
    request: (job) => afterwards(() => perform(job)),
    async close() {
      stopping.abort();
      await underWay;
    },
  };
}

async function upkeepOf(
  { database, runningBackups, measure }: SchedulerOptions,
  account: Account,
): Promise<AccountUpkeep> {
  const last = async (kind: "retention" | "check") =>
    database
      .selectFrom("maintenance")
      .select(["started_ms", "detail"])
      .where("account_id", "=", account.id)
      .where("kind", "=", kind)
      .orderBy("started_ms", "desc")
      .limit(1)
      .executeTakeFirst();
  const hosts = await database
    .selectFrom("snapshots")
    .select("host")
    .distinct()
    .where("account_id", "=", account.id)
    .execute();
  const now = {
    account: account.name,
    canRead: account.keyMode === "server",
    runningBackups: runningBackups(account.name),
  };
  const nothing = {
    lastRetentionMs: Infinity,
    lastCheck: { startedMs: Infinity, part: 0 },
    hosts: [],
    spaceIsLow: false,
  };
  if (hosts.length === 0) return { ...now, ...nothing };
  const drills = await database
    .selectFrom("maintenance")
    .select(["host", (job) => job.fn.max("started_ms").as("last_ms")])
    .where("account_id", "=", account.id)
    .where("kind", "=", "drill")
    .groupBy("host")
    .execute();
  const lastDrill = new Map(drills.map(({ host, last_ms: lastMs }) => [host, lastMs]));
  const room = await roomOf(database, account, measure);
  const check = await last("check");
  return {
    ...now,
    spaceIsLow: room !== undefined && room.freeBytes < room.thresholds.startBelowBytes,
    lastRetentionMs: (await last("retention"))?.started_ms,
    lastCheck: check && { startedMs: check.started_ms, part: partOf(check.detail) },
    hosts: hosts.map(({ host }) => ({ host, lastDrillMs: lastDrill.get(host) })),
  };
}

/** A check that was cut off has no part: then the first is as good as any. */
function partOf(detail: string): number {
  const { part } = JSON.parse(detail) as { part?: unknown };
  return typeof part === "number" ? part : 0;
}

const PROCESS = fileURLToPath(new URL("./maintenance-process.ts", import.meta.url));
const STOP_MS = 20_000;

/** Does a job in a process of its own. */
export async function performInProcess(
  dataFolder: string,
  job: MaintenanceJob,
  signal: AbortSignal,
  log: Log,
): Promise<void> {
  const child: ChildProcess = spawn(process.execPath, [PROCESS], { stdio: ["pipe", "ignore", "pipe"] });
  let complaint = "";
  child.stderr?.on("data", (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-4096)));
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(JSON.stringify({ dataFolder, job }));
  const stop = (): void => {
    child.kill("SIGTERM");
    setTimeout(() => child.kill("SIGKILL"), STOP_MS).unref();
  };
  signal.addEventListener("abort", stop, { once: true });
  try {
    const [code, killedBy] = (await once(child, "exit")) as [number | null, string | null];
    const known = code === 0 || code === JOB_FAILED;
    if (!known && !signal.aborted) log("error", "a maintenance process ended badly", { code, killedBy, complaint });
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
