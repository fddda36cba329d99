import { flag, text, valueList, valueOr, type CommandSpec } from "../command-spec.ts";
import { oneOf, requirePattern } from "../option-values.ts";
import { snapshotFilterOptions } from "./snapshot-filter.ts";

export const OVERWRITE_MODES = ["always", "if-changed", "if-newer", "never"] as const;

export const restoreSpec = {
  name: "restore",
  summary: "bring back what is in a snapshot",
  description:
    "Files are put below the target under their full paths; SNAPSHOT:PATH puts what is in that folder directly into it. " +
    "Run it again after an interruption: what is there already is not written again.",
  arguments: [{ name: "<snapshot>", summary: "its id, the beginning of it, or latest; SNAPSHOT:PATH for a part" }],
  options: {
    ...snapshotFilterOptions,
    target: text("-t, --target <folder>", "where to put it (/ for where it came from)", { completes: "folder" }),
    include: valueList("-i, --include <pattern>", "only what matches (can be given several times)", requirePattern),
    iinclude: valueList("--iinclude <pattern>", "the same, but upper and lower case are one", requirePattern),
    exclude: valueList("-e, --exclude <pattern>", "not what matches (can be given several times)", requirePattern),
    iexclude: valueList("--iexclude <pattern>", "the same, but upper and lower case are one", requirePattern),
    overwrite: valueOr(
      "always",
      "--overwrite <when>",
      `what to do with files that are there: ${OVERWRITE_MODES.join(", ")} (default: always)`,
      oneOf(OVERWRITE_MODES),
      { completes: OVERWRITE_MODES },
    ),
    delete: flag("--delete", "delete what is in the target but not in the snapshot"),
    dryRun: flag("-n, --dry-run", "write nothing, only show what would be done"),
    verify: flag("--verify", "read everything back and compare it"),
    sparse: flag("--sparse", "make holes where files are zeros"),
    ownershipByName: flag("--ownership-by-name", "give files to the user and group of the saved names, not numbers"),
    keepDamaged: flag("--keep-damaged", "leave new files of which parts are lost, with zeros in their place"),
  },
  examples: [
    { command: "holdfast -r /srv/backup restore latest --target /tmp/restored", does: "brings everything back" },
    {
      command: "holdfast -r /srv/backup restore latest:/home/ann --target /home/ann --overwrite if-changed --delete",
      does: "makes a folder as it was",
    },
  ],
} satisfies CommandSpec;
