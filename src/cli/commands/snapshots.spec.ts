import { flag, value, type CommandSpec } from "../command-spec.ts";
import { groupBy, wholeNumber } from "../option-values.ts";
import { snapshotFilterOptions } from "./snapshot-filter.ts";

export const snapshotsSpec = {
  name: "snapshots",
  summary: "list snapshots",
  arguments: [{ name: "[snapshot...]", summary: "only these: ids, beginnings of ids, or latest" }],
  options: {
    ...snapshotFilterOptions,
    compact: flag("-c, --compact", "without tags and sizes, one line each"),
    latest: value("--latest <n>", "only the last n of each host and paths", wholeNumber),
    groupBy: value("-g, --group-by <group>", "a table for each host, paths or tags, separated by commas", groupBy),
  },
  examples: [
    { command: "holdfast -r /srv/backup snapshots", does: "lists all snapshots" },
    { command: "holdfast -r /srv/backup snapshots --host web1 --latest 3", does: "lists the last three of one host" },
  ],
  printsOnly: true,
} satisfies CommandSpec;
