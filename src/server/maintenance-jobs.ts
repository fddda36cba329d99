/**
 * What a server does by itself so that nobody has to look after it: thin out and prune, check, and prove by restoring.
 * Each is a run with a beginning, an end and a result in the database. They run in a process of their own with a low
 * priority (`maintenance-process.ts`), so none is in the way of backups.
 */
import { randomInt } from "node:crypto";
import { HoldfastError, messageOf } from "../errors.ts";
import { discSpace, fullQuota, openAccountRepository, type Account } from "../fleet/accounts.ts";
import { roomOf, type MeasureSpace } from "../fleet/admission.ts";
import { dropSnapshots, listCatalogue, noteVerified, syncCatalogue } from "../fleet/catalogue.ts";
import { dataFile } from "../fleet/data-folder.ts";
import type { Database } from "../fleet/database/open.ts";
import type { MaintenanceTable } from "../fleet/database/schema.ts";
import { drill } from "../fleet/drill.ts";
import { listHosts, type Host } from "../fleet/hosts.ts";
import { DEFAULT_POLICY, floorOf, listPolicies, retentionOf, type PolicySettings } from "../fleet/policies.ts";
import { planRetention, type Forgotten, type RetentionHost } from "../fleet/retention-plan.ts";
import { neededOf, type RetentionRemains } from "../fleet/shared-disc.ts";
import { createSpaceLedger } from "../fleet/space-ledger.ts";
import { PREFIXES } from "../format/names.ts";
import { checkRepository } from "../repository/check.ts";
import { loadIndex } from "../repository/index-loader.ts";
import { prune } from "../repository/prune.ts";
import type { Repository } from "../repository/repository.ts";
import { listSnapshots } from "../repository/snapshots.ts";
import { localCalendar } from "../retention/calendar.ts";
import { createFleetCatalogue } from "./fleet-catalogue.ts";
import { objectsOf } from "./own-objects.ts";
import { reconcileOwnership } from "./reconcile-ownership.ts";

export type MaintenanceJob =
  | { readonly kind: "retention"; readonly account: string }
  /** Reads one of so many parts of all packs. */
  | { readonly kind: "check"; readonly account: string; readonly part: number; readonly of: number }
  | { readonly kind: "drill"; readonly account: string; readonly host: string };

export interface JobContext {
  readonly database: Database;
  readonly dataFolder: string;
  readonly nowMs: () => number;
  readonly measure?: MeasureSpace;
  readonly signal?: AbortSignal | undefined;
}

export interface JobOutcome {
  readonly state: "succeeded" | "failed";
  readonly detail: object;
  readonly error: string | undefined;
}

/** Does a job and records it. Never rejects for what is wrong with a repository: that is the job's outcome. */
export async function runJob(context: JobContext, account: Account, job: MaintenanceJob): Promise<JobOutcome> {
  const { database, nowMs } = context;
  const { insertId } = await database
    .insertInto("maintenance")
    .values({
      account_id: account.id,
      host: job.kind === "drill" ? job.host : null,
      kind: job.kind,
      started_ms: nowMs(),
      state: "running",
      detail: "{}",
    })
    .executeTakeFirstOrThrow();
  let outcome: JobOutcome;
  try {
    const repository = await openAccountRepository(context.dataFolder, account);
    try {
      outcome = await WORK[job.kind](context, account, repository, job as never);
    } finally {
      await repository.storage.close();
    }
  } catch (error) {
    outcome = { state: "failed", detail: {}, error: textOf(error) };
  }
  await database
    .updateTable("maintenance")
    .set({
      state: outcome.state,
      ended_ms: nowMs(),
      detail: JSON.stringify(outcome.detail),
      error: outcome.error ?? null,
    })
    .where("id", "=", Number(insertId))
    .execute();
  return outcome;
}

function textOf(error: unknown): string {
  const hint = error instanceof HoldfastError && error.hint !== undefined ? ` (${error.hint})` : "";
  return messageOf(error) + hint;
}

const WORK = { retention: retain, check, drill: drillHost } as const;

/** Exit code of a process whose job did not end well, as the database says: 1 is how Node ends of a fault. */
export const JOB_FAILED = 3;

/** Jobs that the end of their process cut off. */
export async function endInterruptedJobs(database: Database, nowMs: number): Promise<void> {
  await database
    .updateTable("maintenance")
    .set({ state: "failed", ended_ms: nowMs, error: "it was stopped before it was done" })
    .where("state", "=", "running")
    .execute();
}

export interface PlannedRetention {
  readonly forget: readonly Forgotten<{ readonly id: string; readonly host: string; readonly timeMs: number }>[];
  readonly neededBytes: number;
  readonly lackingBytes: number;
  /** What was forgotten before, and is still to be deleted. */
  readonly garbageBytes: number;
}

/** Which snapshots would go now. Changes nothing but the catalogue, which it brings up to date. */
export async function planAccountRetention(
  { database, nowMs, measure = discSpace }: JobContext,
  account: Account,
  repository: Repository,
): Promise<PlannedRetention & { readonly snapshots: Awaited<ReturnType<typeof listSnapshots>> }> {
  await syncCatalogue(database, account.id, repository);
  const snapshots = await listSnapshots(repository, () => undefined);
  const { frames } = await loadIndex(repository, { forWriting: false, framesOnly: true });
  const ledger = createSpaceLedger(frames, snapshots);
  const room = await roomOf(database, account, measure);
  const garbageBytes = ledger.garbageBytes;
  const neededBytes = room === undefined ? 0 : await neededOf(database, account, room, garbageBytes, measure, nowMs());
  const present = new Set(snapshots.map(({ id }) => id));
  const plan = planRetention({
    snapshots: (await listCatalogue(database, { accountId: account.id })).filter(({ id }) => present.has(id)),
    hosts: await retentionHosts(database, account),
    neededBytes: neededBytes + overAccountQuota(account, ledger.liveBytes),
    release: ({ id }) => ledger.release(id),
    nowMs: nowMs(),
    calendar: localCalendar,
  });
  return { ...plan, neededBytes, garbageBytes, snapshots };
}

function overAccountQuota({ quota }: Account, liveBytes: number): number {
  return Math.max(0, liveBytes - (fullQuota(quota)?.softBytes ?? Infinity));
}

async function retentionHosts(database: Database, account: Account): Promise<RetentionHost[]> {
  const policies = new Map((await listPolicies(database)).map((policy) => [policy.name, policy]));
  const hosts = (await listHosts(database)).filter((host) => host.accountId === account.id);
  return hosts.map((host: Host) => {
    const policy: PolicySettings = policies.get(host.policy) ?? DEFAULT_POLICY;
    return {
      name: host.name,
      policy: retentionOf(policy),
      floor: floorOf(policy),
      usedBytes: host.usedBytes,
      quota: fullQuota(host.quota),
    };
  });
}

/** Forgets what the policies have no more use for and what must make room, and prunes. */
async function retain(context: JobContext, account: Account, repository: Repository): Promise<JobOutcome> {
  const { database, signal } = context;
  const plan = await planAccountRetention(context, account, repository);
  const forgotten: string[] = [];
  for (const { snapshot } of plan.forget) {
    signal?.throwIfAborted();
    await repository.storage.delete(PREFIXES.snapshot + snapshot.id);
    forgotten.push(snapshot.id);
    // At once: were it to wait, a stop in between would leave snapshots in the catalogue that are not there.
    await dropSnapshots(database, account.id, [snapshot.id]);
  }
  const pruned = await pruneAccount(context, account, repository, plan.neededBytes > 0);
  const lacking = plan.lackingBytes > 0;
  const released = plan.forget.reduce((sum, { releasedBytes }) => sum + releasedBytes, plan.garbageBytes);
  const remains: RetentionRemains = {
    onTheirWayBytes: Math.max(0, released - pruned.freedBytes),
    lackingBytes: plan.lackingBytes,
  };
  return {
    state: lacking ? "failed" : "succeeded",
    detail: {
      forgotten: countReasons(plan.forget),
      snapshots: forgotten,
      neededBytes: plan.neededBytes,
      ...pruned,
      ...remains,
    },
    error: lacking
      ? `${Math.ceil(plan.lackingBytes)} bytes more are needed, but every snapshot that is left is protected by the floor: add space, or lower the floor (holdfast policy edit NAME --floor-days N)`
      : undefined,
  };
}

function countReasons(forget: PlannedRetention["forget"]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { reason } of forget) counts[reason] = (counts[reason] ?? 0) + 1;
  return counts;
}

interface PruneSums {
  readonly freedBytes: number;
  readonly deletedPacks: number;
  readonly waitingPacks: number;
}

/** Prunes each host's part by itself, so that no pack ever holds frames of two hosts, and counts what each uses. */
async function pruneAccount(
  { database, signal }: JobContext,
  account: Account,
  repository: Repository,
  thorough: boolean,
): Promise<PruneSums> {
  const { storage } = repository;
  const catalogue = createFleetCatalogue(database, account.id, async () => undefined);
  const before = await listSnapshots(repository, () => undefined);
  const { mixed } = await reconcileOwnership(database, account.id, storage, catalogue, before);
  const hosts = mixed ? [] : await hostsWithObjects(database, account.id);
  const sums = { freedBytes: 0, deletedPacks: 0, waitingPacks: 0 };
  const options = { signal, ...(thorough && { maxUnusedRatio: 0 }) };

  async function pruneOne(view: Repository): Promise<number> {
    const result = await prune(view, options);
    sums.freedBytes += result.freedBytes;
    sums.deletedPacks += result.deletedPacks;
    sums.waitingPacks += result.waitingPacks;
    return result.usedBytes;
  }

  for (const host of hosts) {
    const others = new Set(hosts.filter((other) => other !== host));
    const usedBytes = await pruneOne({ ...repository, storage: objectsOf(storage, catalogue, host, others) });
    await database
      .updateTable("hosts")
      .set({ used_bytes: usedBytes })
      .where("name", "=", host)
      .where("account_id", "=", account.id)
      .execute();
  }
  if (mixed) await pruneOne(repository);
  else await pruneOne({ ...repository, storage: objectsOf(storage, catalogue, undefined, new Set()) });
  await reconcileOwnership(database, account.id, storage, catalogue, await listSnapshots(repository, () => undefined));
  return sums;
}

async function hostsWithObjects(database: Database, accountId: number): Promise<string[]> {
  const rows = await database
    .selectFrom("packs")
    .select("host")
    .where("account_id", "=", accountId)
    .union(database.selectFrom("hosts").select("name as host").where("account_id", "=", accountId))
    .union(database.selectFrom("snapshots").select("host").where("account_id", "=", accountId))
    .execute();
  return rows.map(({ host }) => host).toSorted();
}

async function check(
  { database, nowMs, signal }: JobContext,
  account: Account,
  repository: Repository,
  { part, of }: Extract<MaintenanceJob, { kind: "check" }>,
): Promise<JobOutcome> {
  const { added, damaged } = await syncCatalogue(database, account.id, repository);
  const standing = await listCatalogue(database, { accountId: account.id });
  const problems: string[] = damaged.map((id) => `snapshot ${id.slice(0, 8)} cannot be read`);
  const result = await checkRepository({
    storage: repository.storage,
    config: repository.config,
    ring: repository.ring,
    readData: { kind: "part", part, of },
    onProblem: ({ severity, object, message }) => {
      if (severity === "error" && problems.length < 1000) problems.push(`${object}: ${message}`);
    },
    signal,
  });
  const { errors, packsRead, bytesRead } = result;
  if (errors === 0) {
    const ids = standing.map(({ id }) => id);
    await noteVerified(database, account.id, ids, nowMs());
  }
  return {
    state: errors === 0 ? "succeeded" : "failed",
    detail: { part, of, errors, snapshots: result.snapshots, packsRead, bytesRead, newSnapshots: added, problems },
    error: errors === 0 ? undefined : `${errors} errors: ${problems[0]}`,
  };
}

const DRILL_FILES = 20;
const DRILL_BYTES = 256 * 1024 * 1024;

async function drillHost(
  { database, dataFolder, nowMs, signal }: JobContext,
  account: Account,
  repository: Repository,
  { host }: Extract<MaintenanceJob, { kind: "drill" }>,
): Promise<JobOutcome> {
  const standing = await listCatalogue(database, { accountId: account.id, host });
  if (standing.length === 0) return { state: "failed", detail: {}, error: `the host "${host}" has no snapshot` };
  // Every second one tries the newest, which is the likeliest to be wanted.
  const { id } = standing[randomInt(2) === 0 ? 0 : randomInt(standing.length)];
  const result = await drill({
    repository,
    snapshotId: id,
    scratchFolder: dataFile.scratch(dataFolder),
    files: DRILL_FILES,
    maximumBytes: DRILL_BYTES,
    random: () => randomInt(2 ** 47) / 2 ** 47,
    signal,
  });
  const proven = result.problems.length === 0;
  if (proven) await noteVerified(database, account.id, [id], nowMs());
  return {
    state: proven ? "succeeded" : "failed",
    detail: result,
    error: proven ? undefined : `${result.problems.length} files did not come back: ${result.problems[0]}`,
  };
}

export interface MaintenanceRun {
  readonly id: number;
  readonly account: string;
  readonly host: string | null;
  readonly kind: MaintenanceTable["kind"];
  readonly startedMs: number;
  readonly endedMs: number | null;
  readonly state: MaintenanceTable["state"];
  readonly detail: unknown;
  readonly error: string | null;
}

/** The latest first. */
export async function listMaintenance(database: Database, limit: number): Promise<MaintenanceRun[]> {
  const rows = await database
    .selectFrom("maintenance")
    .innerJoin("accounts", "accounts.id", "maintenance.account_id")
    .selectAll("maintenance")
    .select("accounts.name")
    .orderBy("maintenance.id", "desc")
    .limit(limit)
    .execute();
  return rows.map((row) => ({
    id: row.id,
    account: row.name,
    host: row.host,
    kind: row.kind,
    startedMs: row.started_ms,
    endedMs: row.ended_ms,
    state: row.state,
    detail: JSON.parse(row.detail) as unknown,
    error: row.error,
  }));
}
