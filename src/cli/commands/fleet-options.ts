/** Options that several commands of a server share. */
import { UsageError } from "../../errors.ts";
import { formatTime } from "../output/format-time.ts";
import { value } from "../command-spec.ts";
import { parseBytes } from "../output/format-bytes.ts";

export const quotaOptions = {
  quota: value("--quota <size>", "hard quota: nothing beyond this is stored; 0 for none", parseBytes),
  softQuota: value("--soft-quota <size>", "soft quota: above this, older snapshots make way; 0 for none", parseBytes),
};

interface QuotaValues {
  readonly quota: number | undefined;
  readonly softQuota: number | undefined;
}

interface Quota {
  readonly softBytes?: number | undefined;
  readonly hardBytes?: number | undefined;
}

/** What was there with what was given; undefined where nothing was. */
export function changedQuota(before: Quota, { quota, softQuota }: QuotaValues): Quota | undefined {
  if (quota === undefined && softQuota === undefined) return undefined;
  const hardBytes = quota ?? before.hardBytes ?? 0;
  const softBytes = softQuota ?? before.softBytes ?? 0;
  return { ...(hardBytes > 0 && { hardBytes }), ...(softBytes > 0 && { softBytes }) };
}

export function only(args: readonly string[], what: string): string {
  if (args.length === 1) return args[0];
  throw new UsageError(args.length === 0 ? `no ${what} is named` : `only one ${what} can be named`);
}

/** `1 host`, `2 hosts`. */
export function plural(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

export function timeOr(timeMs: number | null | undefined, otherwise: string): string {
  return timeMs === null || timeMs === undefined ? otherwise : formatTime(timeMs);
}
