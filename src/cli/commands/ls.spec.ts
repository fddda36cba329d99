import { flag, type CommandSpec } from "../command-spec.ts";
import { snapshotFilterOptions } from "./snapshot-filter.ts";

export const lsSpec = {
  name: "ls",
  summary: "list what is in a snapshot",
  arguments: [
    { name: "<snapshot>", summary: "its id, the beginning of it, or latest; SNAPSHOT:PATH begins at a folder" },
    { name: "[folder...]", summary: "only what is directly in these folders (full paths)" },
  ],
  options: {
    ...snapshotFilterOptions,
    long: flag("-l, --long", "with permissions, owner, size and time"),
    recursive: flag("--recursive", "with the folders named, also everything below them"),
    humanReadable: flag("--human-readable", "with --long, sizes like 1.234 MiB"),
  },
  examples: [
    { command: "holdfast -r /srv/backup ls latest", does: "lists everything" },
    { command: "holdfast -r /srv/backup ls -l latest /etc", does: "lists one folder, with details" },
  ],
  printsOnly: true,
} satisfies CommandSpec;
