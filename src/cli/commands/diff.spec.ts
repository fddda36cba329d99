import { flag, type CommandSpec } from "../command-spec.ts";

export const diffSpec = {
  name: "diff",
  summary: "show what is different between two snapshots",
  description: [
    "What became of each entry:",
    "  +  it was added",
    "  -  it was removed",
    "  M  its content was modified (M? although its time and size are the same: damage, perhaps)",
    "  U  only permissions, owner, times or attributes were updated (with --metadata)",
    "  T  its type changed: a file became a link, for example",
  ].join("\n"),
  arguments: [
    { name: "<snapshot>", summary: "the first; SNAPSHOT:PATH compares from a folder on" },
    { name: "<other>", summary: "the second" },
  ],
  options: { metadata: flag("--metadata", "also show what changed in nothing but its attributes") },
  examples: [{ command: "holdfast -r /srv/backup diff 5845b002 latest", does: "shows what happened since" }],
  printsOnly: true,
} satisfies CommandSpec;
