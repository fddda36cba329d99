/** Pulls when they are due, a few at once and never two of one host; and at once where a person wants it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { sql } from "kysely";
import { BusyError, messageOf, UsageError } from "../../errors.ts";
import type { Database } from "../../fleet/database/open.ts";
import { listHosts, type Host } from "../../fleet/hosts.ts";
import { listPolicies } from "../../fleet/policies.ts";
import { nextPullMs } from "../../fleet/pull-schedule.ts";
import { beginRun, endRun, wantRun } from "../../fleet/runs.ts";
import { parseSchedule } from "../../fleet/schedule.ts";
import type { Log } from "../log.ts";
import type { ToldPull } from "./pull-process.ts";

export interface PullsOptions {
  readonly database: Database;
  readonly dataFolder: string;
  /** Name and version. */
  readonly program: string;
  /** So many at once, but for those that a person asked for, and those that have been at it for over an hour. */
  readonly atOnce: number;
  /** One that takes longer is stopped: a hostile host must not keep a process busy for ever by sending byte after byte. */
  readonly longestMs: number;
  readonly nowMs: () => number;
  readonly log: Log;
  /** Does a pull to its end. By default in a process of its own. */
  readonly perform?: (told: ToldPull, signal: AbortSignal) => Promise<void>;
}

export interface Pulls {
  /** Starts what is due, as far as there is room. Resolves when it is started. */
  tick(): Promise<void>;
  /**
   * Starts a pull that a person wants now, or as soon as others of that kind have ended where there are too many. Gives the
   * number of its run. Throws `BusyError` where one is under way, `UsageError` where the server does not pull from the host.
   */
  start(host: Host): Promise<number>;
  /** Pulls under way, by account. */
  running(account: string): number;
  /** Stops what is under way: the next runs go on from there. */
  close(): Promise<void>;
}

/** A pull that has taken so long gives its place to others, which slow hosts must not keep waiting. */
const GIVES_WAY_AFTER_MS = 60 * 60 * 1000;
/** Of those that gave way, there are so many times `atOnce` at most. */
const GAVE_WAY_TIMES = 3;
/** Of those that a person asked for, there are so many times `atOnce` at most: a script may ask for all hosts. */
const WANTED_TIMES = 4;

interface UnderWay {
  readonly account: string;
  readonly startedMs: number;
  readonly isWanted: boolean;
  readonly stopping: AbortController;
  runId: number | undefined;
  done: Promise<void>;
}

export function createPulls(options: PullsOptions): Pulls {
  const { database, dataFolder, program, log, nowMs, perform = performInProcess } = options;
  const underWay = new Map<string, UnderWay>();
  let isClosed = false;
  let ticking = false;
  let startingWaiting: Promise<void> = Promise.resolve();

  /** Undefined where there is no room for one more that a person wants. */
  async function start(host: Host, isWanted: boolean): Promise<number | undefined> {
    // The process of a run that has ended may still be on its way out.
    if (!(await isRunning(database, host))) await underWay.get(host.name)?.done;
    if (underWay.has(host.name)) throw new BusyError(`${host.name} is being pulled already`);
    if (isClosed) throw new BusyError("the server is being stopped");
    if (isWanted && !mayStartWanted()) return undefined;
    const running: UnderWay = {
      account: host.account,
      startedMs: nowMs(),
      isWanted,
      stopping: new AbortController(),
      runId: undefined,
      done: Promise.resolve(),
    };
    underWay.set(host.name, running);
    let runId: number;
    try {
      runId = await beginRun(database, host.id, nowMs());
    } catch (error) {
      underWay.delete(host.name);
      throw error;
    }
    running.runId = runId;
    running.done = follow(host, runId, running.stopping.signal).finally(() => {
      underWay.delete(host.name);
      startingWaiting = startingWaiting.then(startWaiting).catch((error: unknown) => {
        // Somebody else was faster, or the server is being stopped.
        if (!(error instanceof BusyError)) log("error", messageOf(error));
      });
    });
    if (isClosed) running.stopping.abort();
    return runId;
  }

  async function stopWhatTakesTooLong(): Promise<void> {
    for (const { startedMs, runId, stopping } of underWay.values()) {
      if (runId === undefined || stopping.signal.aborted || nowMs() - startedMs <= options.longestMs) continue;
      const error = `it took longer than ${options.longestMs / 3_600_000} hours (longest_hours), and was stopped; the next goes on from there`;
      await endRun(database, runId, { state: "failed", error }, nowMs());
      stopping.abort();
    }
  }

  function mayStartWanted(): boolean {
    return [...underWay.values()].filter(({ isWanted }) => isWanted).length < WANTED_TIMES * options.atOnce;
  }

  /** Starts what persons wait for, as far as there is room. */
  async function startWaiting(): Promise<void> {
    if (isClosed || !mayStartWanted()) return;
    const histories = await pullHistories(database);
    for (const host of await pulledHosts(database)) {
      if (isClosed || !mayStartWanted()) return;
      if (histories.get(host.id)?.wanted === 1 && !underWay.has(host.name)) await start(host, true);
    }
  }

  function mayStart(): boolean {
    const gaveWay = [...underWay.values()].filter(({ startedMs }) => nowMs() - startedMs > GIVES_WAY_AFTER_MS).length;
    return underWay.size - Math.min(gaveWay, GAVE_WAY_TIMES * options.atOnce) < options.atOnce;
  }

  async function follow(host: Host, runId: number, signal: AbortSignal): Promise<void> {
    log("info", "a pull begins", { host: host.name, run: runId });
    let problem = "the process that pulled ended without a word";
    try {
      await perform({ dataFolder, host: host.name, runId, program }, signal);
    } catch (error) {
      problem = messageOf(error);
    }
    try {
      // Only where it has not recorded its end itself.
      await endRun(database, runId, { state: "failed", error: problem }, nowMs());
      const run = await database.selectFrom("runs").selectAll().where("id", "=", runId).executeTakeFirst();
      const isGood = run?.state === "succeeded";
      log(isGood ? "info" : "warning", `a pull ${run?.state ?? "lost its host"}`, {
        host: host.name,
        run: runId,
        ...(run !== undefined && run.error !== null && { error: run.error }),
      });
    } catch (error) {
      log("error", `a pull could not be recorded: ${messageOf(error)}`, { host: host.name, run: runId });
    }
  }

  return {
    start: async (host) => {
      if (host.pull === undefined) throw new UsageError(`the server does not pull from "${host.name}"`);
      if (host.state !== "active") throw new UsageError(`the host "${host.name}" is ${host.state}`);
      return (await start(host, true)) ?? (await wantRun(database, host.id, nowMs())).id;
    },
    async tick() {
      if (ticking || isClosed) return;
      ticking = true;
      try {
        await stopWhatTakesTooLong();
        const due = await duePulls(database, nowMs());
        for (const host of due) {
          if (!mayStart()) break;
          if (!underWay.has(host.name)) await start(host, false);
        }
        await startWaiting();
      } finally {
        ticking = false;
      }
    },
    running: (account) => [...underWay.values()].filter((pull) => pull.account === account).length,
    async close() {
      isClosed = true;
      for (const { stopping } of underWay.values()) stopping.abort();
      await Promise.all([...underWay.values()].map(({ done }) => done));
      await startingWaiting;
    },
  };
}

async function isRunning(database: Database, host: Host): Promise<boolean> {
  const running = database
    .selectFrom("runs")
    .select("id")
    .where("host_id", "=", host.id)
    .where("state", "=", "running");
  return (await running.limit(1).executeTakeFirst()) !== undefined;
}

/** Active hosts whose time has come: first those that a person waits for, then the longest overdue. */
async function duePulls(database: Database, nowMs: number): Promise<Host[]> {
  const hosts = await pulledHosts(database);
  if (hosts.length === 0) return [];
  const policies = new Map((await listPolicies(database)).map((policy) => [policy.name, policy]));
  const histories = await pullHistories(database);
  return hosts
    .map((host) => {
      const { lastMs, failures, lastEndMs, wanted } = histories.get(host.id) ?? NO_HISTORY;
      if (wanted === 1) return { host, dueMs: -Infinity };
      const dueMs = nextPullMs({
        host: host.name,
        schedule: parseSchedule(policies.get(host.policy)!.schedule),
        createdMs: host.createdMs,
        // What is dated later than the clock, because that was set back, was made at the latest now.
        lastSnapshotMs: lastMs === null ? undefined : Math.min(lastMs, nowMs),
        failures,
        lastEndMs: lastEndMs === null ? undefined : Math.min(lastEndMs, nowMs),
      });
      return { host, dueMs };
    })
    .filter(({ dueMs }) => dueMs <= nowMs)
    .toSorted((a, b) => a.dueMs - b.dueMs)
    .map(({ host }) => host);
}

async function pulledHosts(database: Database): Promise<Host[]> {
  return (await listHosts(database)).filter(({ pull, state }) => pull !== undefined && state === "active");
}

interface HistoryRow {
  readonly id: number;
  /** 1 where a person waits for a run. */
  readonly wanted: number;
  readonly lastMs: number | null;
  readonly failures: number;
  readonly lastEndMs: number | null;
}

const NO_HISTORY = { lastMs: null, failures: 0, lastEndMs: null, wanted: 0 };

async function pullHistories(database: Database): Promise<Map<number, HistoryRow>> {
  const { rows } = await sql<HistoryRow>`
    SELECT id, "lastMs",
      (SELECT count(*) FROM runs WHERE host_id = saved.id AND started_ms > coalesce("lastMs", 0)
        AND state IN ('failed', 'refused')) AS failures,
      (SELECT max(ended_ms) FROM runs WHERE host_id = saved.id AND started_ms > coalesce("lastMs", 0)) AS "lastEndMs",
      EXISTS (SELECT 1 FROM runs WHERE host_id = saved.id AND state = 'waiting') AS wanted
    FROM (
      SELECT hosts.id AS id,
        (SELECT max(time_ms) FROM snapshots WHERE account_id = hosts.account_id AND host = hosts.name) AS "lastMs"
      FROM hosts JOIN pulls ON pulls.host_id = hosts.id
    ) AS saved`.execute(database);
  return new Map(rows.map((row) => [row.id, row]));
}

const PROCESS = fileURLToPath(new URL("./pull-process.ts", import.meta.url));
const STOP_MS = 20_000;

/** In a process of its own, so that the server answers others meanwhile, and many files are nobody's memory but its. */
async function performInProcess(told: ToldPull, signal: AbortSignal): Promise<void> {
  const child = spawn(process.execPath, [PROCESS], { stdio: ["pipe", "ignore", "pipe"] });
  let complaint = "";
  child.stderr.on("data", (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-4096)));
  child.stdin.on("error", () => undefined);
  // It stays open: when the server is no more, the process sees it close.
  child.stdin.write(`${JSON.stringify(told)}\n`);
  let killing: NodeJS.Timeout | undefined;
  const stop = (): void => {
    child.kill("SIGTERM");
    killing = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  };
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  try {
    const [code, killedBy] = (await once(child, "exit")) as [number | null, string | null];
    if (code === 0 || code === 1) return;
    const how = killedBy === null ? `ended with code ${code}` : `was ended by ${killedBy}`;
    throw new Error(`the process that pulled ${how}: ${complaint.trim().split("\n").at(-1)}`);
  } finally {
    clearTimeout(killing);
    signal.removeEventListener("abort", stop);
  }
}
