import type { CommandSpec } from "../command-spec.ts";

export const versionSpec = {
  name: "version",
  summary: "print the version of Holdfast and of what it runs on",
  options: {},
  examples: [{ command: "holdfast version --json", does: "the same for programs" }],
  printsOnly: true,
} satisfies CommandSpec;
