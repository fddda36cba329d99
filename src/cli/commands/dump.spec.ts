import { text, valueOr, type CommandSpec } from "../command-spec.ts";
import { oneOf } from "../option-values.ts";
import { snapshotFilterOptions } from "./snapshot-filter.ts";

export const ARCHIVE_FORMATS = ["tar", "zip"] as const;

export const dumpSpec = {
  name: "dump",
  summary: "write a file of a snapshot to standard output, or a folder as an archive",
  description: "GNU tar brings everything back with: tar -x --xattrs --xattrs-include='*' --acls",
  arguments: [
    { name: "<snapshot>", summary: "its id, the beginning of it, or latest; SNAPSHOT:PATH begins at a folder" },
    { name: "<path>", summary: "full path in the snapshot; / for all of it" },
  ],
  options: {
    ...snapshotFilterOptions,
    archive: valueOr(
      "tar",
      "-a, --archive <format>",
      "tar or zip, for folders (default: tar)",
      oneOf(ARCHIVE_FORMATS),
      {
        completes: ARCHIVE_FORMATS,
      },
    ),
    target: text("-t, --target <file>", "write to this file instead", { completes: "file" }),
  },
  examples: [
    { command: "holdfast -r /srv/backup dump latest /etc/fstab", does: "prints one file" },
    {
      command: "holdfast -r /srv/backup dump latest /home/ann | tar -x -C /tmp/ann",
      does: "unpacks a folder elsewhere",
    },
  ],
  printsOnly: true,
} satisfies CommandSpec;
