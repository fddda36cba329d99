import { flag, list, text, value, valueOr, type CommandSpec } from "../command-spec.ts";
import { oneOf, wholeNumber } from "../option-values.ts";
import { dataOption } from "../data-option.ts";

export const serverSpec = {
  name: "server",
  summary: "run the server in the foreground",
  description:
    "Needs no setting: its database, its repository and its sockets are in the data folder, which is made where it is not " +
    "there. The first start prints the recovery key. A holdfast.toml in the data folder may change what one wants changed.",
  options: {
    ...dataOption,
    config: text("--config <file>", "configuration file (default: holdfast.toml in the data folder)", {
      completes: "file",
    }),
  },
  examples: [{ command: "holdfast server --data ./data", does: "until Ctrl-C" }],
} satisfies CommandSpec;

export const serverInstallSpec = {
  name: "server install",
  summary: "set the server up as a service of systemd, with a user of its own",
  options: {
    ...dataOption,
    user: text("--user <name>", "the service's user, made where it is not there (default: holdfast)"),
    print: flag("--print", "only print what would be done"),
  },
  examples: [
    { command: "holdfast server install --print", does: "shows each step" },
    { command: "holdfast server install", does: "does them, and prints the recovery key" },
  ],
} satisfies CommandSpec;

export const serverAdoptSpec = {
  name: "server adopt",
  summary: "bring an account back from its repository: hosts, policies and all",
  description:
    "With the recovery key (--identity-file) or a password of the repository. The server must not be running. See " +
    "docs/recovery.md.",
  arguments: [{ name: "<repository>", summary: "folder, sftp:user@host:/folder, …" }],
  options: { ...dataOption, name: text("--name <account>", "what the account shall be called") },
  examples: [
    {
      command:
        "holdfast server adopt /mnt/disc/repositories/default --identity-file recovery.txt --data /var/lib/holdfast",
      does: "a new server from nothing but the storage and the recovery key",
    },
  ],
} satisfies CommandSpec;

export const statusSpec = {
  name: "status",
  summary: "show how the fleet is: each host, its last snapshot, its next run, what is wrong",
  options: dataOption,
  examples: [{ command: "holdfast status", does: "one screen; ends with 3 where anything is wrong" }],
  exitCodes: ["3  something needs attention"],
  printsOnly: true,
} satisfies CommandSpec;

const RUN_STATES = ["waiting", "running", "succeeded", "incomplete", "failed", "refused"] as const;

export const runsListSpec = {
  name: "runs list",
  summary: "list the last runs",
  options: {
    ...dataOption,
    host: text("--host <name>", "only of this host"),
    state: value("--state <state>", RUN_STATES.join(", "), oneOf(RUN_STATES), { completes: RUN_STATES }),
    maintenance: flag("--maintenance", "the server's own: retention, checks and drills"),
    limit: valueOr(50, "--limit <n>", "how many (default: 50)", wholeNumber),
  },
  examples: [
    { command: "holdfast runs list --host web1", does: "the latest first" },
    { command: "holdfast runs list --maintenance", does: "what the server did by itself" },
  ],
  printsOnly: true,
} satisfies CommandSpec;

const runArgument = [{ name: "<run>", summary: "number of the run" }];

export const runsShowSpec = {
  name: "runs show",
  summary: "show a run and its log",
  arguments: runArgument,
  options: dataOption,
  examples: [{ command: "holdfast runs show 17", does: "how it ended and what it said" }],
  printsOnly: true,
} satisfies CommandSpec;

export const runsFollowSpec = {
  name: "runs follow",
  summary: "print a run's log while it goes on",
  arguments: [{ name: "<run>", summary: "number of the run, or name of a host for its last one" }],
  options: dataOption,
  examples: [
    { command: "holdfast runs follow 17", does: "until the run ends" },
    { command: "holdfast runs follow web1", does: "the last run of web1, or the one that waits for it" },
  ],
  exitCodes: ["3  the snapshot was made, but some of the files could not be read"],
  printsOnly: true,
} satisfies CommandSpec;

export const runsAcceptSpec = {
  name: "runs accept",
  summary: "find a run's sudden growth good: its like is usual from now on",
  arguments: runArgument,
  options: dataOption,
  examples: [{ command: "holdfast runs accept 17", does: "what it stored counts as much as all else" }],
} satisfies CommandSpec;

const JOBS = ["retention", "check", "drill"] as const;

export const maintainSpec = {
  name: "runs start",
  summary: "let the server do maintenance now: retention, check or drill",
  arguments: [{ name: "<job>", summary: JOBS.join(", "), completes: JOBS }],
  options: {
    ...dataOption,
    account: text("--account <name>", "of this account (default: default)"),
    host: list("--host <name>", "for a drill: the host"),
  },
  examples: [
    { command: "holdfast runs start drill --host web1", does: "proves that web1 can be restored" },
    { command: "holdfast runs start check", does: "reads everything" },
  ],
} satisfies CommandSpec;

export const retentionPlanSpec = {
  name: "retention plan",
  summary: "show which snapshots the server would let go now, and why",
  options: { ...dataOption, account: text("--account <name>", "of this account (default: default)") },
  examples: [{ command: "holdfast retention plan", does: "deletes nothing" }],
  printsOnly: true,
} satisfies CommandSpec;
