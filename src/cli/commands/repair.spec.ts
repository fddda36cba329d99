import { flag, type CommandSpec } from "../command-spec.ts";
import { snapshotFilterOptions } from "./snapshot-filter.ts";

export const repairIndexSpec = {
  name: "repair index",
  summary: "make the index anew from the packs",
  options: {},
  examples: [{ command: "holdfast -r /srv/backup repair index", does: "after an index was lost or damaged" }],
} satisfies CommandSpec;

export const repairPacksSpec = {
  name: "repair packs",
  summary: "copy what is whole out of damaged packs",
  description: "Reads every pack. The damaged ones are put aside in damaged/ of the repository.",
  options: {},
  examples: [{ command: "holdfast -r /srv/backup repair packs", does: 'after "holdfast check" found damaged packs' }],
} satisfies CommandSpec;

export const repairSnapshotsSpec = {
  name: "repair snapshots",
  summary: "save what can still be read of damaged snapshots, as new ones",
  description: "Says for each what is lost. The damaged snapshots stay, unless --forget is given.",
  arguments: [{ name: "[snapshot...]", summary: "only these; all if none is named" }],
  options: {
    ...snapshotFilterOptions,
    dryRun: flag("-n, --dry-run", "change nothing, only show what would be done"),
    forget: flag("--forget", "remove the damaged snapshots for which there is a new one"),
  },
  examples: [{ command: "holdfast -r /srv/backup repair snapshots --dry-run", does: "shows what is lost" }],
} satisfies CommandSpec;
