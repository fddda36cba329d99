import type { CommandSpec } from "../command-spec.ts";

export const catSpec = {
  name: "cat",
  summary: "print an object of the repository as JSON",
  arguments: [
    { name: "<what>", summary: "config or snapshot", completes: ["config", "snapshot"] },
    { name: "[id]", summary: "of the snapshot: its id, the beginning of it, or latest" },
  ],
  options: {},
  examples: [
    { command: "holdfast -r /srv/backup cat config", does: "ends with 10 where there is no repository" },
    { command: "holdfast -r /srv/backup cat snapshot latest", does: "everything that a snapshot's record says" },
  ],
  printsOnly: true,
} satisfies CommandSpec;
