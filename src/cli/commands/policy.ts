import type { Policy, PolicySettings, RetentionSettings } from "../../fleet/policies.ts";
import { parseSchedule } from "../../fleet/schedule.ts";
import { UsageError } from "../../errors.ts";
import { apiPath } from "../../server/api-client.ts";
import type { Invocation, OptionValues } from "../command-spec.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { formatTable } from "../output/table.ts";
import { serverOf } from "../server-access.ts";
import { only } from "./fleet-options.ts";
import type { policyAddSpec, policyEditSpec, policyListSpec, policyRemoveSpec, policyShowSpec } from "./host.spec.ts";

type PolicyOptions = OptionValues<typeof policyAddSpec.options>;

export const add = {
  async run({ context: { output }, args, options }: Invocation<typeof policyAddSpec.options>): Promise<number> {
    const name = only(args, "policy");
    const policy = await serverOf(options).call<Policy>("POST", apiPath(["policies", name]), settingsOf(options));
    if (output.json) output.jsonLine(policy);
    output.note(`made the policy ${name}; let a host follow it with "holdfast host edit HOST --policy ${name}"`);
    return 0;
  },
};

export const edit = {
  async run({ context: { output }, args, options }: Invocation<typeof policyEditSpec.options>): Promise<number> {
    const settings = settingsOf(options);
    if (Object.keys(settings).length === 0)
      throw new UsageError("nothing is named that should change", { hint: 'see "holdfast policy edit --help"' });
    const policy = await serverOf(options).call<Policy>("PATCH", apiPath(["policies", only(args, "policy")]), settings);
    if (output.json) output.jsonLine(policy);
    output.note(`changed the policy ${policy.name}; its hosts follow it within a quarter of an hour`);
    return 0;
  },
};

/** Only what was given. */
function settingsOf(options: PolicyOptions): Partial<PolicySettings> {
  const retention = retentionOf(options);
  if (options.schedule !== undefined) parseSchedule(options.schedule);
  const partial = options.source.find((path) => !path.startsWith("/") && path !== "all");
  if (partial !== undefined) throw new UsageError(`--source: "${partial}" is not a full path`);
  return {
    ...(options.schedule !== undefined && { schedule: options.schedule }),
    ...(options.source.length > 0 && { sources: listOr(options.source, "all") }),
    ...(options.exclude.length > 0 && { excludes: listOr(options.exclude, "none") }),
    ...(retention !== undefined && { retention }),
    ...(options.floorNewest !== undefined && { floorNewest: options.floorNewest }),
    ...(options.floorDays !== undefined && { floorDays: options.floorDays }),
    ...(options.uploadLimit !== undefined && { limitUploadKib: options.uploadLimit }),
    ...(options.downloadLimit !== undefined && { limitDownloadKib: options.downloadLimit }),
    ...(options.minimumInterval !== undefined && { minimumIntervalMinutes: options.minimumInterval }),
  };
}

/** A word alone stands for the empty list, which could not be given else. */
function listOr(given: readonly string[], word: string): string[] {
  return given.length === 1 && given[0] === word ? [] : [...given];
}

function retentionOf({ retention, maxAge, keep, levels }: PolicyOptions): RetentionSettings | undefined {
  switch (retention) {
    case undefined:
      if (maxAge !== undefined || keep.length > 0 || levels !== undefined) {
        throw new UsageError("--max-age, --keep and --levels need --retention");
      }
      return undefined;
    case "importance":
      return { kind: "importance" };
    case "age":
      if (maxAge === undefined) throw new UsageError("--retention age needs --max-age");
      return { kind: "age", days: maxAge };
    case "keep":
      if (keep.length === 0) throw new UsageError("--retention keep needs --keep", { hint: "as in --keep daily=7" });
      return { kind: "keep", rules: Object.fromEntries(keep.map(ruleOf)) };
    case "promotion": {
      const [hourly, daily, weekly, monthly, ...rest] = (levels ?? "6,7,4,12").split(",").map(Number);
      if (rest.length > 0) throw new UsageError("--levels takes four numbers");
      return { kind: "promotion", hourly, daily, weekly, monthly };
    }
  }
}

function ruleOf(text: string): [string, string] {
  const [, name, count] = /^([a-z]+)=(.+)$/.exec(text) ?? [];
  if (name !== undefined) return [name, count];
  throw new UsageError(`"${text}" is not a rule`, { hint: "write it like daily=7 or within=1y" });
}

export const list = {
  async run({ context: { output }, options }: Invocation<typeof policyListSpec.options>): Promise<number> {
    const policies = await serverOf(options).call<Policy[]>("GET", "/v1/policies");
    if (output.json) output.jsonLine(policies);
    else for (const line of formatTable(COLUMNS, policies)) output.line(line);
    return 0;
  },
};

const COLUMNS = [
  { title: "Policy", cell: ({ name }: Policy) => name },
  { title: "Schedule", cell: ({ schedule }: Policy) => schedule },
  {
    title: "Sources",
    cell: ({ sources }: Policy) => (sources.length === 0 ? "all local file systems" : sources),
  },
  { title: "Retention", cell: ({ retention }: Policy) => describeRetention(retention) },
  {
    title: "Never deleted",
    cell: ({ floorNewest, floorDays }: Policy) => `newest ${floorNewest}, ${floorDays} days`,
  },
];

function describeRetention(retention: RetentionSettings): string {
  if (retention.kind === "age") return `${retention.days} days`;
  if (retention.kind === "promotion") {
    const { hourly, daily, weekly, monthly } = retention;
    return `promotion ${hourly}, ${daily}, ${weekly}, ${monthly}`;
  }
  if (retention.kind === "importance") return "importance";
  return Object.entries(retention.rules)
    .map(([name, count]) => `${name}=${String(count)}`)
    .join(" ");
}

export const show = {
  async run({ context: { output }, args, options }: Invocation<typeof policyShowSpec.options>): Promise<number> {
    const policy = await serverOf(options).call<Policy>("GET", apiPath(["policies", only(args, "policy")]));
    if (output.json) {
      output.jsonLine(policy);
      return 0;
    }
    for (const line of formatTable(COLUMNS, [policy])) output.line(line);
    output.line(`at least ${policy.minimumIntervalMinutes} minutes between snapshots of a host`);
    for (const [what, kib] of [
      ["sent", policy.limitUploadKib],
      ["received", policy.limitDownloadKib],
    ] as const) {
      if (kib !== undefined && kib > 0) output.line(`at most ${formatBytes(kib * 1024)}/s are ${what}`);
    }
    for (const pattern of policy.excludes) output.line(`leaves out ${pattern}`);
    return 0;
  },
};

export const remove = {
  async run({ context: { output }, args, options }: Invocation<typeof policyRemoveSpec.options>): Promise<number> {
    const name = only(args, "policy");
    await serverOf(options).call("DELETE", apiPath(["policies", name]));
    if (output.json) output.jsonLine({ message_type: "removed", policy: name });
    output.note(`removed the policy ${name}`);
    return 0;
  },
};
