/** How the fleet is: of each host when it was last saved, when it is expected, and what is wrong. */
import { sql } from "kysely";
import { discSpace, fullQuota, listAccounts, type Account } from "./accounts.ts";
import { usedByAccount, type MeasureSpace } from "./admission.ts";
import type { Database } from "./database/open.ts";
import type { RunTable } from "./database/schema.ts";
import { listHosts, type Host } from "./hosts.ts";
import { DEFAULT_POLICY, listPolicies } from "./policies.ts";
import { firstPullMs } from "./pull-schedule.ts";
import { nextPlaceMs, parseSchedule, silentFromMs } from "./schedule.ts";

export type Health = "ok" | "warning" | "alarm";

export interface Finding {
  readonly health: Exclude<Health, "ok">;
  readonly text: string;
}

export interface HostStatus {
  readonly host: string;
  readonly account: string;
  readonly policy: string;
  readonly state: Host["state"];
  readonly health: Health;
  /** The worst first. */
  readonly findings: readonly Finding[];
  readonly snapshots: number;
  readonly lastSnapshotMs: number | undefined;
  readonly lastRun: { readonly id: number; readonly state: RunTable["state"]; readonly startedMs: number } | undefined;
  /** When its next backup is expected; undefined for a host that is not active. */
  readonly nextRunMs: number | undefined;
  /** When a drill last restored files of it as they were. */
  readonly provenMs: number | undefined;
  readonly usedBytes: number;
}

export interface AccountStatus {
  readonly account: string;
  readonly repository: string;
  readonly health: Health;
  readonly findings: readonly Finding[];
  readonly usedBytes: number;
  readonly freeBytes: number | undefined;
  readonly totalBytes: number | undefined;
  readonly lastCheckMs: number | undefined;
  readonly lastRetentionMs: number | undefined;
}

export interface FleetStatus {
  readonly nowMs: number;
  readonly health: Health;
  readonly accounts: readonly AccountStatus[];
  readonly hosts: readonly HostStatus[];
}

export interface StatusOptions {
  readonly nowMs: number;
  readonly measure?: MeasureSpace;
  /** Storage that could not be reached or settings that could not be saved, by account. */
  readonly troubles?: ReadonlyMap<string, string>;
}

const RANKS: readonly Health[] = ["ok", "warning", "alarm"];

export function worstOf(healths: readonly Health[]): Health {
  return RANKS[Math.max(0, ...healths.map((health) => RANKS.indexOf(health)))];
}

/** Some indexed queries, however many snapshots there are. */
export async function fleetStatus(database: Database, options: StatusOptions): Promise<FleetStatus> {
  const accounts = await listAccounts(database);
  const jobs = await lastJobs(database);
  const accountStates = await Promise.all(accounts.map((account) => accountStatus(database, account, jobs, options)));
  const hosts = await hostStates(database, jobs, options.nowMs);
  const health = worstOf([...accountStates, ...hosts].map((one) => one.health));
  return { nowMs: options.nowMs, health, accounts: accountStates, hosts };
}

interface LastJob {
  readonly state: string;
  readonly startedMs: number;
  readonly error: string | null;
  readonly succeededMs: number | undefined;
}

function jobKey(accountId: number, kind: string, host: string | null): string {
  return JSON.stringify([accountId, kind, host]);
}

/** The last run of each kind of maintenance, by `jobKey`. */
async function lastJobs(database: Database): Promise<Map<string, LastJob>> {
  // SQLite takes the other columns from the row that has the maximum: sqlite.org/lang_select.html#bareagg
  const { rows } = await sql<{
    account_id: number;
    kind: string;
    host: string | null;
    state: string;
    started_ms: number;
    error: string | null;
    succeeded_ms: number | null;
  }>`
    SELECT last.*, good.succeeded_ms FROM
      (SELECT account_id, kind, host, max(id), state, started_ms, error FROM maintenance
        WHERE state <> 'running' GROUP BY account_id, kind, host) AS last
      LEFT JOIN
      (SELECT account_id, kind, host, max(ended_ms) AS succeeded_ms FROM maintenance
        WHERE state = 'succeeded' GROUP BY account_id, kind, host) AS good
      ON good.account_id = last.account_id AND good.kind = last.kind AND good.host IS last.host`.execute(database);
  return new Map(
    rows.map((row) => [
      jobKey(row.account_id, row.kind, row.host),
      {
        state: row.state,
        startedMs: row.started_ms,
        error: row.error,
        succeededMs: row.succeeded_ms ?? undefined,
      },
    ]),
  );
}

async function accountStatus(
  database: Database,
  account: Account,
  jobs: ReadonlyMap<string, LastJob>,
  { measure = discSpace, troubles }: StatusOptions,
): Promise<AccountStatus> {
  const check = jobs.get(jobKey(account.id, "check", null));
  const retention = jobs.get(jobKey(account.id, "retention", null));
  const usedBytes = await usedByAccount(database, account.id);
  const findings: Finding[] = [];
  const trouble = troubles?.get(account.name);
  if (trouble !== undefined) findings.push({ health: "alarm", text: trouble });
  if (check?.state === "failed") findings.push({ health: "alarm", text: `the last check: ${check.error}` });
  if (retention?.state === "failed") findings.push({ health: "alarm", text: `the last retention: ${retention.error}` });
  const space = spaceOf(account, measure, findings);
  if (space !== undefined && space.freeBytes < space.totalBytes * 0.02) {
    findings.push({ health: "alarm", text: "the disc is nearly full" });
  }
  const quota = fullQuota(account.quota);
  if (quota !== undefined && usedBytes >= quota.hardBytes)
    findings.push({ health: "alarm", text: "its quota is used up" });
  else if (usedBytes > (account.quota.softBytes ?? Infinity)) {
    findings.push({ health: "warning", text: "it is above its soft quota" });
  }
  return {
    account: account.name,
    repository: account.storageUrl,
    health: worstOf(findings.map(({ health }) => health)),
    findings: findings.toSorted(byWeight),
    usedBytes,
    freeBytes: space?.freeBytes,
    totalBytes: space?.totalBytes,
    lastCheckMs: check?.succeededMs,
    lastRetentionMs: retention?.succeededMs,
  };
}

function spaceOf(account: Account, measure: MeasureSpace, findings: Finding[]): ReturnType<MeasureSpace> {
  try {
    return measure(account);
  } catch {
    findings.push({ health: "alarm", text: `the repository at ${account.storageUrl} cannot be reached` });
    return undefined;
  }
}

function byWeight(a: Finding, b: Finding): number {
  return RANKS.indexOf(b.health) - RANKS.indexOf(a.health);
}

async function hostStates(
  database: Database,
  jobs: ReadonlyMap<string, LastJob>,
  nowMs: number,
): Promise<HostStatus[]> {
  const policies = new Map((await listPolicies(database)).map((policy) => [policy.name, policy]));
  const { rows: standing } = await sql<{
    account_id: number;
    host: string;
    snapshots: number;
    last_ms: number;
    complete: number;
  }>`SELECT account_id, host, count(*) AS snapshots, max(time_ms) AS last_ms, complete
     FROM snapshots GROUP BY account_id, host`.execute(database);
  const standingOf = new Map(standing.map((row) => [JSON.stringify([row.account_id, row.host]), row]));
  const lastRuns = await database
    .selectFrom("runs")
    .select(["id", "host_id", "state", "started_ms", "error", "sudden_growth", "accepted"])
    .where(
      "id",
      "in",
      database
        .selectFrom("runs")
        .select((run) => run.fn.max("id").as("id"))
        .where("state", "<>", "waiting")
        .groupBy("host_id"),
    )
    .execute();
  const runOf = new Map(lastRuns.map((run) => [run.host_id, run]));

  return (await listHosts(database)).map((host) => {
    const saved = standingOf.get(JSON.stringify([host.accountId, host.name]));
    const run = runOf.get(host.id);
    const drill = jobs.get(jobKey(host.accountId, "drill", host.name));
    const schedule = parseSchedule(policies.get(host.policy)?.schedule ?? DEFAULT_POLICY.schedule);
    const sinceMs = saved?.last_ms ?? host.createdMs;
    const findings: Finding[] = [];
    const warn = (text: string): void => void findings.push({ health: "warning", text });
    const alarm = (text: string): void => void findings.push({ health: "alarm", text });
    if (host.offeredKeys !== undefined || host.state === "pending-approval") warn("its new key waits for approval");
    if (host.state === "suspended") warn("it is suspended");
    if (host.state === "new") warn("it has not enrolled yet");
    if (host.state === "active" && nowMs > silentFromMs(schedule, sinceMs)) {
      alarm(saved === undefined ? "it was never saved" : "it is silent: no snapshot since it was due");
    }
    if (run?.state === "failed" || run?.state === "refused")
      warn(`its last run was ${run.state === "failed" ? "a failure" : "refused"}: ${run.error}`);
    if (run?.sudden_growth === 1 && run.accepted === 0) warn(`its last run stored far more than usual (run ${run.id})`);
    if (saved?.complete === 0) warn("its last snapshot lacks what could not be read");
    if (drill?.state === "failed") alarm(`the last drill: ${drill.error}`);
    const { softBytes } = host.quota;
    if (softBytes !== undefined && host.usedBytes > softBytes) warn("it is above its soft quota");
    return {
      host: host.name,
      account: host.account,
      policy: host.policy,
      state: host.state,
      health: worstOf(findings.map(({ health }) => health)),
      findings: findings.toSorted(byWeight),
      snapshots: saved?.snapshots ?? 0,
      lastSnapshotMs: saved?.last_ms,
      lastRun: run && { id: run.id, state: run.state, startedMs: run.started_ms },
      nextRunMs:
        host.state === "active"
          ? saved === undefined
            ? firstRunMs(host)
            : nextPlaceMs(schedule, host.name, sinceMs)
          : undefined,
      provenMs: drill?.succeededMs,
      usedBytes: host.usedBytes,
    };
  });
}

/** An agent saves as soon as it is set up. */
function firstRunMs({ pull, createdMs }: Host): number {
  return pull === undefined ? createdMs : firstPullMs(createdMs);
}
