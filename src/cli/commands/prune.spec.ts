import { flag, type CommandSpec } from "../command-spec.ts";
import { pruneOptions } from "./prune-options.ts";

export const pruneSpec = {
  name: "prune",
  summary: "free the space of what no snapshot needs",
  description:
    "Backups may run meanwhile. What a running one might still need is only marked, and deleted by a later prune.",
  options: { dryRun: flag("-n, --dry-run", "change nothing, only show what would be done"), ...pruneOptions },
  examples: [{ command: "holdfast -r /srv/backup prune --dry-run", does: "shows how much could be freed" }],
} satisfies CommandSpec;
