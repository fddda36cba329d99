import { flag, valueOr, type CommandSpec } from "../command-spec.ts";
import { groupBy } from "../option-values.ts";
import { DEFAULT_GROUP_BY } from "../../retention/keep-rules.ts";
import { keepOptions } from "./keep-options.ts";
import { pruneOptions } from "./prune-options.ts";
import { snapshotFilterOptions } from "./snapshot-filter.ts";

export const forgetSpec = {
  name: "forget",
  summary: "remove snapshots, named or by rules",
  description:
    "The rules hold for each group of snapshots (same host and paths) by itself; a snapshot stays if any rule keeps it. " +
    'What only the removed snapshots needed is still there until "holdfast prune", or --prune, removes it.',
  arguments: [{ name: "[snapshot...]", summary: "remove these, whatever the rules say" }],
  options: {
    ...keepOptions,
    ...snapshotFilterOptions,
    host: { ...snapshotFilterOptions.host, flags: "--host <host>" },
    groupBy: valueOr(
      DEFAULT_GROUP_BY,
      "-g, --group-by <group>",
      "host, paths, tags or '' (default: host,paths)",
      groupBy,
    ),
    compact: flag("-c, --compact", "without tags and sizes, one line each"),
    dryRun: flag("-n, --dry-run", "remove nothing, only show what would be done"),
    prune: flag("--prune", "free the space at once, if a snapshot was removed"),
    unsafeAllowRemoveAll: flag(
      "--unsafe-allow-remove-all",
      "without a rule, remove all that --host, --tag or --path select",
    ),
    ...pruneOptions,
  },
  examples: [
    {
      command: "holdfast -r /srv/backup forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run",
      does: "shows what would stay, and why",
    },
    { command: "holdfast -r /srv/backup forget 5845b002 --prune", does: "removes one snapshot and frees its space" },
  ],
} satisfies CommandSpec;
