import type { CommandSpec } from "../command-spec.ts";

export const initSpec = {
  name: "init",
  summary: "make a new, empty repository",
  description:
    "Without the password nobody can read what will be saved, you included: keep it in a place that outlives this machine.",
  options: {},
  examples: [
    { command: "holdfast init -r /srv/backup", does: "asks for a password, twice" },
    { command: "holdfast init -r /srv/backup --password-file /root/backup-password", does: "without asking" },
  ],
} satisfies CommandSpec;
