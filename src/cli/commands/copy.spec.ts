import { text, type CommandSpec } from "../command-spec.ts";
import { snapshotFilterOptions } from "./snapshot-filter.ts";

export const copySpec = {
  name: "copy",
  summary: "copy snapshots from another repository into this one",
  description: "Snapshots that this repository holds already are left out; data that it holds is not stored again.",
  arguments: [{ name: "[snapshot...]", summary: "only these; all if none is named" }],
  options: {
    ...snapshotFilterOptions,
    fromRepo: text("--from-repo <repository>", "repository to copy from", {
      environment: "HOLDFAST_FROM_REPOSITORY",
      completes: "folder",
    }),
    fromRepositoryFile: text("--from-repository-file <file>", "read from a file where that is", {
      environment: "HOLDFAST_FROM_REPOSITORY_FILE",
      completes: "file",
    }),
    fromPasswordFile: text("--from-password-file <file>", "read its password from a file", {
      environment: "HOLDFAST_FROM_PASSWORD_FILE",
      completes: "file",
    }),
    fromPasswordCommand: text("--from-password-command <command>", "read its password from what a command prints", {
      environment: "HOLDFAST_FROM_PASSWORD_COMMAND",
    }),
    fromKeyHint: text("--from-key-hint <key>", "id of its key to try before all others", {
      environment: "HOLDFAST_FROM_KEY_HINT",
    }),
    fromIdentityFile: text("--from-identity-file <file>", "open it with an age identity", {
      environment: "HOLDFAST_FROM_IDENTITY_FILE",
      completes: "file",
    }),
  },
  examples: [
    { command: "holdfast -r /mnt/disc copy --from-repo /srv/backup latest", does: "takes the last snapshot along" },
  ],
} satisfies CommandSpec;
