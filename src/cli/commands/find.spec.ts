import { flag, list, value, type CommandSpec } from "../command-spec.ts";
import { moment } from "../option-values.ts";
import { snapshotFilterOptions } from "./snapshot-filter.ts";

export const findSpec = {
  name: "find",
  summary: "look for files in snapshots",
  description:
    "With --blob, --tree or --pack, for what is made of stored pieces, by their ids or the beginnings of those: which " +
    "files a message of damage is about.",
  arguments: [{ name: "<pattern...>", summary: "names or paths, with * ? [a-z] and **; or ids" }],
  options: {
    ...snapshotFilterOptions,
    snapshot: list("-s, --snapshot <id>", "only in this snapshot (can be given several times)"),
    ignoreCase: flag("-i, --ignore-case", "upper and lower case are one"),
    long: flag("-l, --long", "with permissions, owner, size and time"),
    humanReadable: flag("--human-readable", "with --long, sizes like 1.234 MiB"),
    oldest: value("-O, --oldest <time>", "only what was modified at this time or later", moment),
    newest: value("-N, --newest <time>", "only what was modified at this time or before", moment),
    blob: flag("--blob", "the arguments are ids of pieces of content"),
    tree: flag("--tree", 'the arguments are ids of folders, as in "snapshots --json"'),
    pack: flag("--pack", "the arguments are ids of packs: whatever has a piece in one"),
    showPackId: flag("--show-pack-id", "with --blob or --tree, also in which pack each is"),
    reverse: flag("-R, --reverse", "the oldest snapshot first"),
  },
  examples: [
    { command: "holdfast -r /srv/backup find config.json", does: "looks in all snapshots" },
    { command: "holdfast -r /srv/backup find --pack 025c1d06", does: "names the files that a damaged pack is part of" },
    { command: "holdfast -r /srv/backup find -s latest '/home/*/*.odt'", does: "looks in the last one, from the top" },
  ],
  printsOnly: true,
} satisfies CommandSpec;
