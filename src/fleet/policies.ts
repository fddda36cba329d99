/** Policies: what hosts are asked to save and when, and how long it stands. */
import { z } from "zod";
import { messageOf, UsageError } from "../errors.ts";
import { parseKeepCount, parseKeepDuration, parseTagList } from "../retention/keep-rules.ts";
import type { RetentionPolicy } from "../retention/policy.ts";
import { DEFAULT_FLOOR, type Floor } from "../retention/space.ts";
import { MAXIMUM_POLICY_BYTES, MINIMUM_BYTES_PER_SECOND, policyBytes, type HostPolicy } from "../wire/hello.ts";
import type { Database } from "./database/open.ts";
import { checkName } from "./names.ts";
import { parseSchedule } from "./schedule.ts";

const DAY_MS = 86_400_000;
const count = z.int().min(0).max(100_000);

function parsed(what: string, parse: (text: string) => unknown) {
  return z
    .string()
    .max(200)
    .refine((text) => isGood(() => parse(text)), { error: `is no ${what}` });
}

function isGood(parse: () => unknown): boolean {
  try {
    return parse() !== undefined;
  } catch {
    return false;
  }
}

const keepCountSetting = parsed("count", parseKeepCount);
const keepDurationSetting = parsed("duration such as 1y6m", parseKeepDuration);

/** As `holdfast forget` names its rules: `daily: "7"`, `within: "1y"`. */
const keepSettings = z.strictObject({
  last: keepCountSetting.optional(),
  hourly: keepCountSetting.optional(),
  daily: keepCountSetting.optional(),
  weekly: keepCountSetting.optional(),
  monthly: keepCountSetting.optional(),
  yearly: keepCountSetting.optional(),
  within: keepDurationSetting.optional(),
  tags: z.array(z.string().max(200)).optional(),
});

export const retentionSettings = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("importance") }),
  z.strictObject({ kind: z.literal("age"), days: z.number().positive().max(100_000) }),
  z.strictObject({ kind: z.literal("keep"), rules: keepSettings }),
  z.strictObject({ kind: z.literal("promotion"), hourly: count, daily: count, weekly: count, monthly: count }),
]);

export type RetentionSettings = z.infer<typeof retentionSettings>;

const KIB = 1024;
const rateSetting = z
  .int()
  .min(0)
  .max(1024 ** 3);
/** As lines of a list: no text that would be two. */
const line = z
  .string()
  .min(1)
  .max(4096)
  .regex(/^[^\0\r\n]*$/, { error: "has a line break in it" });

export const policySettings = z.strictObject({
  schedule: parsed("schedule", parseSchedule),
  /** Folders to save; none: every local file system. */
  sources: z.array(line.startsWith("/", { error: "is not a full path" })).max(1000),
  excludes: z.array(line).max(1000),
  /** KiB a second that a host may send or receive; 0 or nothing: as much as goes. */
  limitUploadKib: rateSetting.optional(),
  limitDownloadKib: rateSetting.optional(),
  retention: retentionSettings,
  /** So many of the newest verified snapshots of a host, and all younger than so many days, are never deleted. */
  floorNewest: count.min(1),
  floorDays: z.number().min(0).max(36_500),
  /** A host may not store snapshots more often. */
  minimumIntervalMinutes: z.number().min(0).max(525_600),
});

export type PolicySettings = z.infer<typeof policySettings>;

export interface Policy extends PolicySettings {
  readonly name: string;
}

/** What holds where nobody says anything else. */
export const DEFAULT_POLICY: PolicySettings = {
  schedule: "daily",
  sources: [],
  excludes: [],
  retention: { kind: "importance" },
  floorNewest: DEFAULT_FLOOR.newestVerified,
  floorDays: DEFAULT_FLOOR.youngerThanMs / DAY_MS,
  minimumIntervalMinutes: 5,
};

export const DEFAULT_POLICY_NAME = "default";

/** Checked settings. Throws `UsageError`, which names what is wrong. */
export function parsePolicySettings(value: unknown): PolicySettings {
  const result = policySettings.safeParse(value);
  if (!result.success) {
    const { path, message } = result.error.issues[0];
    throw new UsageError(`the policy's ${path.join(".") || "settings"}: ${message}`);
  }
  const bytes = policyBytes(hostPolicyOf(result.data));
  if (bytes <= MAXIMUM_POLICY_BYTES) return result.data;
  throw new UsageError(`the policy's paths and patterns are ${bytes} bytes long, and may be ${MAXIMUM_POLICY_BYTES}`, {
    hint: "name folders instead of what is in them, or give hosts policies of their own",
  });
}

/** What of a policy its hosts are told. */
export function hostPolicyOf(settings: PolicySettings): HostPolicy {
  const { schedule, sources, excludes, limitUploadKib = 0, limitDownloadKib = 0 } = settings;
  const rate = (kib: number): number => Math.max(MINIMUM_BYTES_PER_SECOND, kib * KIB);
  return {
    schedule,
    sources,
    excludes,
    ...(limitUploadKib > 0 && { uploadBytesPerSecond: rate(limitUploadKib) }),
    ...(limitDownloadKib > 0 && { downloadBytesPerSecond: rate(limitDownloadKib) }),
  };
}

export function retentionOf({ retention }: PolicySettings): RetentionPolicy {
  if (retention.kind === "importance") return retention;
  if (retention.kind === "age") return { kind: "age", maxAgeMs: retention.days * DAY_MS };
  if (retention.kind === "promotion") {
    const { hourly, daily, weekly, monthly } = retention;
    return { kind: "promotion", levels: { hourly, daily, weekly, monthly } };
  }
  const { tags, within, ...counts } = retention.rules;
  const parsedCounts = Object.fromEntries(
    Object.entries(counts).flatMap(([key, text]) => (text === undefined ? [] : [[key, parseKeepCount(text)]])),
  );
  return {
    kind: "keep",
    rules: {
      ...parsedCounts,
      ...(within !== undefined && { within: parseKeepDuration(within)! }),
      ...(tags !== undefined && { tags: tags.map(parseTagList) }),
    },
  };
}

export function floorOf({ floorNewest, floorDays }: PolicySettings): Floor {
  return { newestVerified: floorNewest, youngerThanMs: floorDays * DAY_MS };
}

export async function listPolicies(database: Database): Promise<Policy[]> {
  const rows = await database.selectFrom("policies").select(["name", "settings"]).orderBy("name").execute();
  return rows.map(({ name, settings }) => ({ name, ...readSettings(name, settings) }));
}

/** Throws `UsageError` where there is none of this name. */
export async function findPolicy(database: Database, name: string): Promise<Policy & { readonly id: number }> {
  const row = await database.selectFrom("policies").selectAll().where("name", "=", name).executeTakeFirst();
  if (row === undefined) throw new UsageError(`there is no policy "${name}"`, { hint: 'see "holdfast policy list"' });
  return { id: row.id, name, ...readSettings(name, row.settings) };
}

/** Makes a policy, or changes it where it is there. Throws `UsageError` where hosts could not follow it. */
export async function savePolicy(database: Database, name: string, settings: PolicySettings): Promise<void> {
  checkName("policy", name);
  const winding = settings.sources.find((source) => source.split("/").includes(".."));
  if (winding !== undefined) {
    throw new UsageError(`the policy's source "${winding}" has a part "..", which each host would follow its own way`, {
      hint: "write it out in full",
    });
  }
  const text = JSON.stringify(settings);
  await database
    .insertInto("policies")
    .values({ name, settings: text })
    .onConflict((conflict) => conflict.column("name").doUpdateSet({ settings: text }))
    .execute();
}

/** Throws `UsageError` where hosts follow it. */
export async function removePolicy(database: Database, name: string): Promise<void> {
  const { id } = await findPolicy(database, name);
  if (name === DEFAULT_POLICY_NAME) throw new UsageError("the default policy cannot be removed: edit it instead");
  const hosts = await database.selectFrom("hosts").select("name").where("policy_id", "=", id).execute();
  if (hosts.length > 0) {
    throw new UsageError(`hosts follow the policy "${name}": ${hosts.map((host) => host.name).join(", ")}`, {
      hint: 'give them another with "holdfast host edit HOST --policy NAME"',
    });
  }
  await database.deleteFrom("policies").where("id", "=", id).execute();
}

/** Fields that a later version added have their defaults in what an earlier one stored. */
function readSettings(name: string, text: string): PolicySettings {
  try {
    return parsePolicySettings({ ...DEFAULT_POLICY, ...(JSON.parse(text) as object) });
  } catch (cause) {
    throw new UsageError(`the policy "${name}" cannot be used: ${messageOf(cause)}`, {
      hint: `set it right with "holdfast policy edit ${name}"`,
      cause,
    });
  }
}
