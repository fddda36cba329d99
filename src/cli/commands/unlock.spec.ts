import type { CommandSpec } from "../command-spec.ts";

export const unlockSpec = {
  name: "unlock",
  summary: "remove the notes of commands that did not end well",
  description:
    "Notes of processes that have ended on this machine, and those older than a day, are removed by themselves. Use this " +
    "only where nothing is running any more: a prune could otherwise delete what a running backup counts on.",
  options: {},
  examples: [
    { command: "holdfast -r /srv/backup unlock", does: 'after a prune on another machine, if "prune" says so' },
  ],
} satisfies CommandSpec;
