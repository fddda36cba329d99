import { text, list, type CommandSpec } from "../command-spec.ts";

const newPasswordOptions = {
  newPasswordFile: text("--new-password-file <file>", "read the new password from a file", { completes: "file" }),
  newPasswordCommand: text("--new-password-command <command>", "read the new password from what a command prints"),
};

export const keyListSpec = {
  name: "key list",
  summary: "list the keys that open the repository",
  description: "Each is a file in keys/ of the repository, in the format of age (https://age-encryption.org).",
  options: {},
  examples: [{ command: "holdfast -r /srv/backup key list", does: "marks the key in use with *" }],
  printsOnly: true,
} satisfies CommandSpec;

export const keyAddSpec = {
  name: "key add",
  summary: "add a key: another password, or age recipients",
  options: {
    ...newPasswordOptions,
    recipient: list("--recipient <age1…>", "open with the identity of this age recipient (can be given several times)"),
    label: text("--label <text>", "what the key is called in the list (default: user@host)"),
  },
  examples: [
    { command: "holdfast -r /srv/backup key add --label Ann", does: "asks for the new password, twice" },
    {
      command: "holdfast -r /srv/backup key add --label recovery --recipient age1…",
      does: "for an identity made by age-keygen, to be kept in a safe",
    },
  ],
} satisfies CommandSpec;

export const keyRemoveSpec = {
  name: "key remove",
  summary: "remove a key",
  description: "Who had it may have kept the secrets that it opens: it is no means against somebody who left.",
  arguments: [{ name: "<id>", summary: "id of the key, or its beginning" }],
  options: {},
  examples: [{ command: "holdfast -r /srv/backup key remove 5845b002", does: "removes one; never the one in use" }],
} satisfies CommandSpec;

export const keyPasswdSpec = {
  name: "key passwd",
  summary: "change the password",
  options: newPasswordOptions,
  examples: [{ command: "holdfast -r /srv/backup key passwd", does: "asks for the old password, and for the new one" }],
} satisfies CommandSpec;
