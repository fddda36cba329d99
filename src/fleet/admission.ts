/** Whether a host may store another snapshot now, and how much: interval, quotas, growth guard and free space. */
import { RefusedError } from "../errors.ts";
import {
  admitRun,
  spaceThresholds,
  usualRunLimitBytes,
  type Admission,
  type SpaceThresholds,
} from "../retention/space.ts";
import { discSpace, findAccount, fullQuota, type Account } from "./accounts.ts";
import { latestSnapshotMs } from "./catalogue.ts";
import type { Database } from "./database/open.ts";
import type { Host } from "./hosts.ts";
import { findPolicy } from "./policies.ts";
import { storedByEarlierRuns } from "./runs.ts";

/** Room that runs have to share. */
export interface Room {
  readonly totalBytes: number;
  readonly freeBytes: number;
  readonly thresholds: SpaceThresholds;
  /** All storage divided by the hosts. */
  readonly fairShareBytes: number;
}

export type MeasureSpace = (
  account: Account,
) => { readonly totalBytes: number; readonly freeBytes: number; readonly disc?: string } | undefined;

/**
 * How much room an account's storage has. Storage that does not tell counts as large as the account's hard quota, and as
 * boundless where there is none.
 */
export async function roomOf(
  database: Database,
  account: Account,
  measure: MeasureSpace = discSpace,
): Promise<Room | undefined> {
  const space = measure(account) ?? (await spaceByQuota(database, account));
  if (space === undefined) return undefined;
  const recent = await database
    .selectFrom("runs")
    .select("stored_bytes")
    .where("snapshot", "is not", null)
    .where("sudden_growth", "=", 0)
    .orderBy("id", "desc")
    .limit(10)
    .execute();
  const { hosts } = await database
    .selectFrom("hosts")
    .select((count) => count.fn.countAll<number>().as("hosts"))
    .executeTakeFirstOrThrow();
  const recentBytes = recent.map(({ stored_bytes: bytes }) => bytes).toReversed();
  return {
    ...space,
    thresholds: spaceThresholds(space.totalBytes, recentBytes),
    fairShareBytes: space.totalBytes / Math.max(hosts, 1),
  };
}

async function spaceByQuota(database: Database, account: Account) {
  const { hardBytes } = account.quota;
  if (hardBytes === undefined) return undefined;
  return { totalBytes: hardBytes, freeBytes: Math.max(0, hardBytes - (await usedByAccount(database, account.id))) };
}

/** What the snapshots of all hosts of an account take, as last counted. */
export async function usedByAccount(database: Database, accountId: number): Promise<number> {
  const { used } = await database
    .selectFrom("hosts")
    .select((sum) => sum.fn.sum<number | null>("used_bytes").as("used"))
    .where("account_id", "=", accountId)
    .executeTakeFirstOrThrow();
  return used ?? 0;
}

/** What a run that is let in may store, and what is usual for its host. */
export interface Permit extends Admission {
  readonly usualLimitBytes: number;
}

/** Throws `RefusedError` where the host may not store now. */
export async function admitBackup(
  database: Database,
  host: Host,
  nowMs: number,
  measure: MeasureSpace = discSpace,
  /** A person wants this run: the minimum interval does not count. */
  isWanted = false,
): Promise<Permit> {
  if (host.state !== "active") {
    const hint =
      host.state === "suspended"
        ? `an administrator may let it in again: holdfast host edit ${host.name} --resume`
        : `an administrator has to approve it: holdfast host approve ${host.name}`;
    throw new RefusedError(`the host "${host.name}" is ${host.state}, and may not store snapshots`, { hint });
  }
  const account = await findAccount(database, host.account);
  if (!isWanted) await refuseTooSoon(database, host, nowMs);
  const room = await roomOf(database, account, measure);
  if (room === undefined) return { allowedBytes: Infinity, limitedBy: "free space", usualLimitBytes: Infinity };
  const usualLimitBytes = usualRunLimitBytes(await storedByEarlierRuns(database, host.id), room.fairShareBytes);
  const admission = admitRun({
    freeBytes: room.freeBytes,
    thresholds: room.thresholds,
    usualLimitBytes,
    host: { usedBytes: host.usedBytes, quota: fullQuota(host.quota) },
    account: { usedBytes: await usedByAccount(database, account.id), quota: fullQuota(account.quota) },
  });
  if (admission.allowedBytes <= 0) throw new RefusedError(...refusalOf(host, admission.limitedBy));
  return { ...admission, usualLimitBytes };
}

async function refuseTooSoon(database: Database, host: Host, nowMs: number): Promise<void> {
  const { minimumIntervalMinutes } = await findPolicy(database, host.policy);
  const latestMs = await latestSnapshotMs(database, host);
  if (latestMs === undefined) return;
  const waitMs = latestMs + minimumIntervalMinutes * 60_000 - nowMs;
  // A snapshot dated later than the server's clock (it was set back) must not lock its host out.
  if (waitMs <= 0 || latestMs > nowMs) return;
  throw new RefusedError(`the last snapshot of "${host.name}" is not yet ${minimumIntervalMinutes} minutes old`, {
    hint: `wait ${Math.ceil(waitMs / 60_000)} minutes, or let an administrator lower the policy's minimum interval`,
  });
}

/** For a run that came to the end of what it may store. */
export function limitReached(host: Host, { limitedBy }: Admission): RefusedError {
  return new RefusedError(...refusalOf(host, limitedBy));
}

function refusalOf(host: Host, limitedBy: Admission["limitedBy"]): [string, { hint: string }] {
  switch (limitedBy) {
    case "free space":
      return [
        "the server's disc is full: it keeps what it has rather than make room for more",
        { hint: "an administrator has to add space, lower the policy's floor or remove snapshots" },
      ];
    case "host quota":
      return [
        `the host "${host.name}" has used up its quota`,
        { hint: `an administrator can raise it: holdfast host edit ${host.name} --quota SIZE` },
      ];
    case "account quota":
      return [
        `the account "${host.account}" has used up its quota`,
        { hint: `an administrator can raise it: holdfast account edit ${host.account} --quota SIZE` },
      ];
    case "sudden growth":
      return [
        `the host "${host.name}" stores far more than it ever did, and the server makes no room for that`,
        {
          hint: "if that is right, an administrator can accept it: see holdfast runs list, and holdfast runs accept ID",
        },
      ];
  }
}
