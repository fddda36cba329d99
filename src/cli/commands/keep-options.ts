import type { KeepRules } from "../../retention/keep-rules.ts";
import { value, valueList, type OptionValues } from "../command-spec.ts";
import { keepCount, keepDuration, tagList } from "../option-values.ts";

/** restic's rules of what to keep. */
export const keepOptions = {
  keepLast: value("-l, --keep-last <n>", "keep the last n snapshots (a number, or unlimited)", keepCount),
  keepHourly: value("-H, --keep-hourly <n>", "keep the last of each of the last n hours that have any", keepCount),
  keepDaily: value("-d, --keep-daily <n>", "the same for days", keepCount),
  keepWeekly: value("-w, --keep-weekly <n>", "the same for weeks", keepCount),
  keepMonthly: value("-m, --keep-monthly <n>", "the same for months", keepCount),
  keepYearly: value("-y, --keep-yearly <n>", "the same for years", keepCount),
  keepWithin: value(
    "--keep-within <duration>",
    "keep all that are at most 1y5m7d2h older than the latest",
    keepDuration,
  ),
  keepWithinHourly: value("--keep-within-hourly <duration>", "of those, keep the last of each hour", keepDuration),
  keepWithinDaily: value("--keep-within-daily <duration>", "the same for days", keepDuration),
  keepWithinWeekly: value("--keep-within-weekly <duration>", "the same for weeks", keepDuration),
  keepWithinMonthly: value("--keep-within-monthly <duration>", "the same for months", keepDuration),
  keepWithinYearly: value("--keep-within-yearly <duration>", "the same for years", keepDuration),
  keepTag: valueList("--keep-tag <tags>", "keep all with these tags (can be given several times)", tagList),
};

/** The same without their single letters, for a command that has other uses for those. */
export const longKeepOptions = Object.fromEntries(
  Object.entries(keepOptions).map(([name, option]) => [
    name,
    { ...option, flags: option.flags.replace(/^-[a-z], /i, "") },
  ]),
) as typeof keepOptions;

export function keepRulesOf(options: OptionValues<typeof keepOptions>): KeepRules {
  return {
    last: options.keepLast,
    hourly: options.keepHourly,
    daily: options.keepDaily,
    weekly: options.keepWeekly,
    monthly: options.keepMonthly,
    yearly: options.keepYearly,
    within: options.keepWithin,
    withinHourly: options.keepWithinHourly,
    withinDaily: options.keepWithinDaily,
    withinWeekly: options.keepWithinWeekly,
    withinMonthly: options.keepWithinMonthly,
    withinYearly: options.keepWithinYearly,
    tags: options.keepTag,
  };
}
