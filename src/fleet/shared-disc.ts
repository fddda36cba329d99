/** What an account has to give up when the disc that it shares with others is nearly full. */
import { bytesToRelease, sharesOfNeed } from "../retention/space.ts";
import { listAccounts, type Account } from "./accounts.ts";
import { usedByAccount, type MeasureSpace, type Room } from "./admission.ts";
import type { Database } from "./database/open.ts";

const DAY_MS = 86_400_000;

/** What the last retention of an account has left, as it is kept with the job. */
export interface RetentionRemains {
  /** Forgotten, and still to be deleted. */
  readonly onTheirWayBytes?: number;
  /** What it should have given up and could not, as the floor protects the rest. */
  readonly lackingBytes?: number;
}

/**
 * How much the account has to release now. Of what all accounts on its disc need together, those give first that use most
 * for each of their hosts, until they are level. One that lately had nothing to give but what its floor protects is left
 * out, and the others give more. `garbageBytes` is what it has forgotten already.
 */
export async function neededOf(
  database: Database,
  account: Account,
  room: Room,
  garbageBytes: number,
  measure: MeasureSpace,
  nowMs: number,
): Promise<number> {
  const sharers = await sharersOf(database, account, measure, nowMs);
  const others = sharers.filter(({ id }) => id !== account.id);
  const waitingBytes = others.reduce((sum, { onTheirWayBytes }) => sum + onTheirWayBytes, 0);
  const withOwn = bytesToRelease(room.freeBytes, waitingBytes + garbageBytes, room.thresholds);
  if (withOwn === 0 || others.length === 0) return withOwn;
  const place = sharers.findIndex(({ id }) => id === account.id);
  const share = sharesOfNeed(sharers, withOwn + garbageBytes)[place];
  return Math.max(0, share - garbageBytes);
}

interface Sharer {
  readonly id: number;
  readonly usedBytes: number;
  readonly hosts: number;
  readonly onTheirWayBytes: number;
}

async function sharersOf(
  database: Database,
  account: Account,
  measure: MeasureSpace,
  nowMs: number,
): Promise<Sharer[]> {
  const disc = measure(account)?.disc;
  const sharers: Sharer[] = [];
  for (const other of await listAccounts(database)) {
    const isSelf = other.id === account.id;
    if (!isSelf && (disc === undefined || discOf(other, measure) !== disc)) continue;
    const { onTheirWayBytes = 0, lackingBytes = 0 } = await lastRemains(database, other.id, nowMs);
    const { hosts } = await database
      .selectFrom("hosts")
      .select((count) => count.fn.countAll<number>().as("hosts"))
      .where("account_id", "=", other.id)
      .executeTakeFirstOrThrow();
    sharers.push({
      id: other.id,
      usedBytes: !isSelf && lackingBytes > 0 ? 0 : await usedByAccount(database, other.id),
      hosts: Math.max(1, hosts),
      onTheirWayBytes,
    });
  }
  return sharers;
}

/** A disc that is not there now is none that is shared. */
function discOf(account: Account, measure: MeasureSpace): string | undefined {
  try {
    return measure(account)?.disc;
  } catch {
    return undefined;
  }
}

async function lastRemains(database: Database, accountId: number, nowMs: number): Promise<RetentionRemains> {
  const last = await database
    .selectFrom("maintenance")
    .select("detail")
    .where("account_id", "=", accountId)
    .where("kind", "=", "retention")
    .where("state", "<>", "running")
    .where("started_ms", ">", nowMs - DAY_MS)
    .orderBy("id", "desc")
    .limit(1)
    .executeTakeFirst();
  return last === undefined ? {} : (JSON.parse(last.detail) as RetentionRemains);
}
