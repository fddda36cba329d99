import { flag, list, text, valueOr, type CommandSpec } from "../command-spec.ts";
import { wholeNumber } from "../option-values.ts";
import { restoreSpec } from "./restore.spec.ts";
import { snapshotsSpec } from "./snapshots.spec.ts";

const agentOption = {
  agentFolder: text("--agent-folder <folder>", "where the agent keeps its keys (default: /var/lib/holdfast-agent)", {
    environment: "HOLDFAST_AGENT",
    completes: "folder",
  }),
};

export const agentSetupSpec = {
  name: "agent setup",
  summary: "let a server save this host: keys, enrolment, timer",
  description:
    "USER@SERVER is a login on the server from which Holdfast can be run: that of the server's own user, with your " +
    "password or key, or any with a one-time token. A server on this machine that runs as the same user is named by its " +
    "data folder, and needs no ssh. May be repeated. What is listed in the file exclude of the agent's folder, a pattern a " +
    "line, is never saved, whatever the server wants.",
  arguments: [{ name: "<server>", summary: "USER@SERVER, USER@SERVER:PORT, or a data folder on this machine" }],
  options: {
    ...agentOption,
    name: text("--name <name>", "name of this host on the server (default: its host name)"),
    token: text("--token <token>", 'one-time token, as "holdfast host add" prints it', {
      environment: "HOLDFAST_TOKEN",
    }),
    hostKey: text("--host-key <key>", "the server's SSH host key, where it is known: ssh-ed25519 AAAA…"),
    remoteCommand: text("--remote-command <command>", "how Holdfast is called on the server (default: holdfast)"),
    sshOption: list("-o, --ssh-option <option>", "an option for ssh when enrolling, such as IdentityFile=…"),
    fixedPolicy: flag("--fixed-policy", "what is saved stays as the policy says now, whatever the server says later"),
    withoutTimer: flag("--without-timer", "run only by hand"),
    run: flag("--run", "make the first backup now"),
  },
  examples: [
    { command: "holdfast agent setup backup@server", does: "asks for the password that ssh asks for" },
    { command: "holdfast agent setup backup@server --name web1 --token holdfast-token-…", does: "without a login" },
    { command: "holdfast agent setup ./data --without-timer", does: "at the server of this machine that has ./data" },
  ],
} satisfies CommandSpec;

export const agentRunSpec = {
  name: "agent run",
  summary: "save this host to its server, now",
  options: {
    ...agentOption,
    ifDue: flag("--if-due", "only where the server says that it is time, or somebody wants it: what the timer does"),
    retries: valueOr(5, "--retries <n>", "connect again so often when the line breaks (default: 5)", wholeNumber),
    retryAfter: valueOr(600, "--retry-after <seconds>", "with so long in between (default: 600)", wholeNumber),
  },
  examples: [
    { command: "holdfast agent run", does: "at once, whatever the schedule says" },
    { command: "holdfast agent run --limit-upload 1024", does: "at one MiB a second" },
  ],
  exitCodes: ["3  some files could not be read"],
} satisfies CommandSpec;

export const agentRotateKeySpec = {
  name: "agent rotate-key",
  summary: "give this host new keys, for ssh and for signing",
  description:
    "An administrator has to approve them; until then the old ones count. What the old key has signed stays this host's " +
    "own, and can be restored as before.",
  options: {
    ...agentOption,
    token: text("--token <token>", 'one-time token, as "holdfast host token" prints it', {
      environment: "HOLDFAST_TOKEN",
    }),
    remoteCommand: text("--remote-command <command>", "how Holdfast is called on the server (default: holdfast)"),
    sshOption: list("-o, --ssh-option <option>", "an option for ssh when the keys are offered, such as IdentityFile=…"),
  },
  examples: [{ command: "holdfast agent rotate-key", does: "by the login that setup used; asks for a password" }],
} satisfies CommandSpec;

export const agentPlanSpec = {
  name: "agent plan",
  summary: "show what would be saved, and why each mount is in or out",
  options: agentOption,
  examples: [{ command: "holdfast agent plan", does: "saves nothing" }],
  printsOnly: true,
} satisfies CommandSpec;

export const agentStatusSpec = {
  name: "agent status",
  summary: "show this host's server, policy and last run",
  options: agentOption,
  examples: [{ command: "holdfast agent status", does: "looks only at this host" }],
  printsOnly: true,
} satisfies CommandSpec;

export const agentSnapshotsSpec = {
  ...snapshotsSpec,
  name: "agent snapshots",
  summary: "list this host's snapshots on its server",
  options: { ...snapshotsSpec.options, ...agentOption },
  examples: [{ command: "holdfast agent snapshots", does: "the newest last" }],
} satisfies CommandSpec;

export const agentRestoreSpec = {
  ...restoreSpec,
  name: "agent restore",
  summary: "bring back what is in a snapshot of this host",
  options: { ...restoreSpec.options, ...agentOption },
  examples: [{ command: "holdfast agent restore latest:/etc --target /tmp/etc", does: "through the server" }],
} satisfies CommandSpec;

export const agentRemoveSpec = {
  name: "agent remove",
  summary: "take timer, keys and settings of the agent away; snapshots stay on the server",
  options: { ...agentOption, yes: flag("--yes", "do not only say what would go") },
  examples: [{ command: "holdfast agent remove --yes", does: "this host is not saved any more" }],
} satisfies CommandSpec;
