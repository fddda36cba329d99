import { flag, text, type CommandSpec } from "../command-spec.ts";

export const checkSpec = {
  name: "check",
  summary: "look for damage in the repository",
  description:
    "Looks at every object and at all that belongs together. With --read-data also every byte is read and verified. " +
    "Without a password it checks what can be checked without a key.",
  options: {
    readData: flag("--read-data", "read and verify everything"),
    readDataSubset: text("--read-data-subset <subset>", "read a part: 2/5 (the second fifth), 10% or 5G (at random)"),
    withoutKey: flag("--without-key", "do not ask for a password; check what can be checked without"),
  },
  examples: [
    { command: "holdfast -r /srv/backup check", does: "a quick look" },
    { command: "holdfast -r /srv/backup check --read-data-subset 1/12", does: "and a twelfth of the data, in January" },
  ],
} satisfies CommandSpec;
