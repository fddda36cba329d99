import { flag, list, value, type CommandSpec } from "../command-spec.ts";
import { moment } from "../option-values.ts";
import { snapshotFilterOptions } from "./snapshot-filter.ts";

export const findSpec = {
  name: "find",
  summary: "look for files in snapshots",
  arguments: [{ name: "<pattern...>", summary: "names or paths, with * ? [a-z] and **" }],
  options: {
    ...snapshotFilterOptions,
    snapshot: list("-s, --snapshot <id>", "only in this snapshot (can be given several times)"),
    ignoreCase: flag("-i, --ignore-case", "upper and lower case are one"),
    long: flag("-l, --long", "with permissions, owner, size and time"),
    humanReadable: flag("--human-readable", "with --long, sizes like 1.234 MiB"),
    oldest: value("-O, --oldest <time>", "only what was modified at this time or later", moment),
    newest: value("-N, --newest <time>", "only what was modified at this time or before", moment),
    reverse: flag("-R, --reverse", "the oldest snapshot first"),
  },
  examples: [
    { command: "holdfast -r /srv/backup find config.json", does: "looks in all snapshots" },
    { command: "holdfast -r /srv/backup find -s latest '/home/*/*.odt'", does: "looks in the last one, from the top" },
  ],
  printsOnly: true,
} satisfies CommandSpec;
