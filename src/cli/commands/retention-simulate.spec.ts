import { UsageError } from "../../errors.ts";
import { flag, value, valueOr, type CommandSpec } from "../command-spec.ts";
import { oneOf, wholeNumber } from "../option-values.ts";
import { parseBytes } from "../output/format-bytes.ts";
import { keepOptions } from "./keep-options.ts";

export const POLICIES = ["importance", "age", "keep", "promotion"] as const;

export const retentionSimulateSpec = {
  name: "retention simulate",
  summary: "show which snapshots would stand on which day",
  description:
    "Plays a history of backups of a growing host through a policy, on a disc of some size. Needs no repository.",
  options: {
    policy: valueOr(
      "importance",
      "--policy <policy>",
      `${POLICIES.join(", ")} (default: importance)`,
      oneOf(POLICIES),
      {
        completes: POLICIES,
      },
    ),
    ...keepOptions,
    maxAge: valueOr(
      90,
      "--max-age <days>",
      "for the policy age: days that a snapshot stands (default: 90)",
      wholeNumber,
    ),
    every: valueOr(24, "--every <hours>", "hours from one backup to the next (default: 24)", hours),
    days: valueOr(1095, "--days <n>", "how long (default: 1095, three years)", wholeNumber),
    disc: value("--disc <size>", "size of the disc (default: without end)", parseBytes),
    first: valueOr(100 * 2 ** 30, "--first <size>", "what the first backup stores (default: 100G)", parseBytes),
    added: valueOr(2 ** 27, "--added <size>", "new data each day that stays (default: 128M)", parseBytes),
    replaced: valueOr(2 ** 31, "--replaced <size>", "data that is replaced each day (default: 2G)", parseBytes),
    growth: valueOr(1.4, "--growth <factor>", "by which all this grows each year (default: 1.4)", factor),
    table: flag("--table", "no picture, only the table at the end"),
  },
  examples: [
    { command: "holdfast retention simulate --disc 1T", does: "the default policy, daily, for three years" },
    {
      command: "holdfast retention simulate --policy keep --keep-daily 7 --keep-weekly 5 --days 400",
      does: "other rules",
    },
  ],
  printsOnly: true,
} satisfies CommandSpec;

function hours(text: string): number {
  const number = wholeNumber(text);
  if (number >= 1) return number;
  throw new UsageError("backups are at least an hour apart");
}

function factor(text: string): number {
  if (/^\d{1,3}(\.\d{1,6})?$/.test(text) && Number(text) > 0) return Number(text);
  throw new UsageError(`"${text}" is not a factor`, { hint: "1 for no growth, 1.5 for half as much again each year" });
}
