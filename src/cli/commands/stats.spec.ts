import { valueOr, type CommandSpec } from "../command-spec.ts";
import { oneOf } from "../option-values.ts";
import { snapshotFilterOptions } from "./snapshot-filter.ts";

export const STATS_MODES = ["restore-size", "files-by-contents", "blobs-per-file", "raw-data"] as const;

export const statsSpec = {
  name: "stats",
  summary: "count files and bytes in snapshots",
  description: [
    "Modes:",
    "  restore-size       what restoring them would take",
    "  files-by-contents  the same, but files with the same content count once",
    "  blobs-per-file     the pieces of all files, each once for each path",
    "  raw-data           what they take in the repository, and what it would be without compression",
  ].join("\n"),
  arguments: [{ name: "[snapshot...]", summary: "only these; all if none is named" }],
  options: {
    ...snapshotFilterOptions,
    mode: valueOr(
      "restore-size",
      "--mode <mode>",
      `${STATS_MODES.join(", ")} (default: restore-size)`,
      oneOf(STATS_MODES),
      {
        completes: STATS_MODES,
      },
    ),
  },
  examples: [
    { command: "holdfast -r /srv/backup stats latest --mode raw-data", does: "what the last one takes on disc" },
  ],
  printsOnly: true,
} satisfies CommandSpec;
