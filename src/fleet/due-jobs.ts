/** Which maintenance is due. Pure: the clock is passed in. */

export interface AccountUpkeep {
  readonly account: string;
  /** Its space must be made now, or runs will be refused. */
  readonly spaceIsLow: boolean;
  /** The server can open what is stored. */
  readonly canRead: boolean;
  readonly runningBackups: number;
  readonly lastRetentionMs: number | undefined;
  readonly lastCheck: { readonly startedMs: number; readonly part: number } | undefined;
  /** Hosts that have snapshots. */
  readonly hosts: readonly { readonly host: string; readonly lastDrillMs: number | undefined }[];
}

export interface UpkeepSettings {
  readonly retentionHours: number;
  /** In so many days everything is read once. */
  readonly checkDays: number;
  /** Each host is drilled once in so many days. */
  readonly drillDays: number;
}

export const DEFAULT_UPKEEP: UpkeepSettings = { retentionHours: 24, checkDays: 28, drillDays: 7 };

export type DueJob =
  | { readonly kind: "retention"; readonly account: string }
  | { readonly kind: "check"; readonly account: string; readonly part: number; readonly of: number }
  | { readonly kind: "drill"; readonly account: string; readonly host: string };

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** While space is low, so often it is tried to make some. */
const LOW_SPACE_RETRY_MS = HOUR_MS / 4;

/**
 * The most urgent job of an account, if any is due. Space comes first, whatever else goes on; other jobs wait for an hour
 * without backups, but not for ever: what is due twice over is done beside them.
 */
export function dueJob(account: AccountUpkeep, settings: UpkeepSettings, nowMs: number): DueJob | undefined {
  const { account: name, runningBackups } = account;
  const sinceRetentionMs = nowMs - (account.lastRetentionMs ?? -Infinity);
  if (account.spaceIsLow && sinceRetentionMs >= LOW_SPACE_RETRY_MS) return { kind: "retention", account: name };
  const isDue = (lastMs: number | undefined, everyMs: number): boolean =>
    nowMs - (lastMs ?? -Infinity) >= (runningBackups > 0 ? 2 * everyMs : everyMs);

  if (isDue(account.lastRetentionMs, settings.retentionHours * HOUR_MS)) return { kind: "retention", account: name };
  if (isDue(account.lastCheck?.startedMs, DAY_MS)) {
    const of = Math.max(1, Math.round(settings.checkDays));
    return { kind: "check", account: name, part: ((account.lastCheck?.part ?? 0) % of) + 1, of };
  }
  if (!account.canRead) return undefined;
  const [longest] = account.hosts.toSorted((a, b) => (a.lastDrillMs ?? -Infinity) - (b.lastDrillMs ?? -Infinity));
  if (longest === undefined || !isDue(longest.lastDrillMs, settings.drillDays * DAY_MS)) return undefined;
  return { kind: "drill", account: name, host: longest.host };
}
