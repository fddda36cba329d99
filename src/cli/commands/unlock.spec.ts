import { flag, type CommandSpec } from "../command-spec.ts";

export const unlockSpec = {
  name: "unlock",
  summary: "remove the notes of commands that did not end well",
  description:
    "Removes notes of processes that have ended on this machine, and those older than a day (of prunes: a week). Backups and " +
    "prunes do so by themselves. With --remove-all every note goes; use that only where nothing is running any more: a " +
    "prune could otherwise delete what a running backup counts on.",
  options: {
    removeAll: flag("--remove-all", "remove notes of commands on other machines too, and of those that run"),
  },
  examples: [
    { command: "holdfast -r /srv/backup unlock", does: "what is left of commands that were killed here" },
    {
      command: "holdfast -r /srv/backup unlock --remove-all",
      does: "after a prune on another machine that is gone for good",
    },
  ],
} satisfies CommandSpec;
