import { flag, list, text, value, type CommandSpec } from "../command-spec.ts";
import { oneOf, portNumber, wholeNumber } from "../option-values.ts";
import { dataOption } from "../data-option.ts";
import { quotaOptions } from "./fleet-options.ts";

const PATHS_FROM = ["policy", "host"] as const;
const KEY_MODES = ["full", "write-only"] as const;
const hostArgument = [{ name: "<host>", summary: "name of the host" }];

const pullOptions = {
  port: value("--port <port>", "port of its sshd (default: 22)", portNumber),
  identity: text("--identity <file>", "private key on this machine for that login, in place of the server's own", {
    completes: "file",
  }),
  pathsFrom: value(
    "--paths-from <where>",
    "what to save: policy (default), or host: its /etc/backup.conf",
    oneOf(PATHS_FROM),
    {
      completes: PATHS_FROM,
    },
  ),
};

export const hostAddSpec = {
  name: "host add",
  summary: "add a host to the server",
  description:
    'Prints a one-time token, with which "holdfast agent setup" on the host can enrol it within a day. Whoever can log in ' +
    "as the server's user needs none. With --pull the host needs no agent: the server fetches its files with rsync over " +
    "ssh. Then the lines are printed that let it do so, and nothing else.",
  arguments: hostArgument,
  options: {
    ...dataOption,
    account: text("--account <name>", "account that it belongs to (default: default)"),
    policy: text("--policy <name>", "policy that it follows (default: default; with --pull: pull, every 4 hours)"),
    pull: text("--pull <user@host>", "login there with which the server pulls; it needs only rsync and sshd"),
    ...pullOptions,
    rsyncKey: text("--rsync-key <key>", "public SSH key (or file of it) of a host that pushes with a stock rsync", {
      completes: "file",
    }),
    keyMode: value(
      "--key-mode <mode>",
      "full, or write-only: it can store but never read (default: full, where the server has the key)",
      oneOf(KEY_MODES),
      { completes: KEY_MODES },
    ),
    ...quotaOptions,
  },
  examples: [
    { command: "holdfast host add web1", does: "prints the token" },
    { command: "holdfast host add web1 --pull root@web1.example.com", does: "for one that shall have no agent" },
    {
      command: "holdfast host add web1 --rsync-key web1.pub",
      does: "for one that pushes: rsync -aHAX / holdfast@server:",
    },
    { command: "holdfast host add web2 --key-mode write-only --quota 500G", does: "for one that is not to be trusted" },
  ],
} satisfies CommandSpec;

export const hostListSpec = {
  name: "host list",
  summary: "list the hosts of the server",
  options: dataOption,
  examples: [{ command: "holdfast host list", does: "a line for each" }],
  printsOnly: true,
} satisfies CommandSpec;

export const hostShowSpec = {
  name: "host show",
  summary: "show a host: its settings and its last runs",
  arguments: hostArgument,
  options: dataOption,
  examples: [{ command: "holdfast host show web1", does: "all that the server knows of it" }],
  printsOnly: true,
} satisfies CommandSpec;

export const hostRunSpec = {
  name: "host run",
  summary: "save a host now",
  description:
    "A host that the server pulls from is begun at once. One with an agent is told when it next asks the server, which it " +
    "does every 15 minutes; the run waits for that, and the policy's minimum interval does not count for it.",
  arguments: hostArgument,
  options: {
    ...dataOption,
    follow: flag("-f, --follow", "print the run's log until it ends"),
    cancel: flag("--cancel", "let a run that waits not happen"),
  },
  examples: [
    { command: "holdfast host run web1", does: "says when it will begin" },
    { command: "holdfast host run web1 --follow", does: "and stays until it has ended" },
  ],
  exitCodes: ["3  with --follow: the snapshot was made, but some of the files could not be read"],
} satisfies CommandSpec;

export const hostEditSpec = {
  name: "host edit",
  summary: "change a host's policy, quotas or rights",
  arguments: hostArgument,
  options: {
    ...dataOption,
    policy: text("--policy <name>", "policy that it follows"),
    keyMode: value("--key-mode <mode>", "full or write-only, for the key ring that it gets next", oneOf(KEY_MODES), {
      completes: KEY_MODES,
    }),
    ...quotaOptions,
    pull: text("--pull <user@host>", "login with which the server pulls"),
    ...pullOptions,
    newHostKey: flag("--new-host-key", "pin the SSH key that the host shows now, because it was installed anew"),
    suspend: flag("--suspend", "let it neither store nor read"),
    resume: flag("--resume", "let it in again"),
  },
  examples: [{ command: "holdfast host edit web1 --quota 1T --policy hourly", does: "changes what is named" }],
} satisfies CommandSpec;

export const hostTestSpec = {
  name: "host test",
  summary: "see whether the server can pull from a host, and what is missing",
  description: "Tries what a pull does, step by step, and says what to do where a step fails. Nothing is saved.",
  arguments: hostArgument,
  options: dataOption,
  examples: [{ command: "holdfast host test web1", does: "a line for each step" }],
  exitCodes: ["3  it can be pulled from, but not all of it, or not as it should be"],
} satisfies CommandSpec;

export const hostRemoveSpec = {
  name: "host remove",
  summary: "forget a host; its snapshots stay",
  arguments: hostArgument,
  options: dataOption,
  examples: [{ command: "holdfast host remove web1", does: "it can't connect any more" }],
} satisfies CommandSpec;

export const hostApproveSpec = {
  name: "host approve",
  summary: "accept the new key that came under a host's name",
  description: "A host that was reinstalled, or whose keys were lost, enrols again and then waits for this.",
  arguments: hostArgument,
  options: dataOption,
  examples: [{ command: "holdfast host approve web1", does: "its old key counts for nothing any more" }],
} satisfies CommandSpec;

export const hostTokenSpec = {
  name: "host token",
  summary: "print another one-time token for a host",
  arguments: hostArgument,
  options: dataOption,
  examples: [{ command: "holdfast host token web1", does: "an earlier one counts for nothing any more" }],
} satisfies CommandSpec;

export const enrolSpec = {
  name: "enrol",
  summary: "enrol a host, whose public keys come as JSON (run by agent setup)",
  options: {
    ...dataOption,
    host: text("--host <name>", "name of the host"),
    withToken: flag("--with-token", "the host has nothing but a one-time token"),
  },
  examples: [{ command: "ssh backup@server holdfast enrol --host web1 < keys.json", does: "what agent setup does" }],
} satisfies CommandSpec;

export const accountAddSpec = {
  name: "account add",
  summary: "make an account: a repository and key ring of its own",
  description: "Prints the recovery key, once: an age identity that opens everything. Keep it away from the server.",
  arguments: [{ name: "<account>", summary: "name of the account" }],
  options: {
    ...dataOption,
    storage: text("--storage <repository>", "where its repository shall be (default: in the data folder)"),
    ownerKey: flag("--owner-key", "only the owner can read: the server keeps, checks and prunes, and can't read"),
    ...quotaOptions,
  },
  examples: [
    { command: "holdfast account add customer1 --quota 2T", does: "in the server's data folder" },
    { command: "holdfast account add box --storage sftp:u1@box:/backup --owner-key", does: "elsewhere, unread" },
  ],
} satisfies CommandSpec;

export const accountListSpec = {
  name: "account list",
  summary: "list the accounts of the server",
  options: dataOption,
  examples: [{ command: "holdfast account list", does: "a line for each" }],
  printsOnly: true,
} satisfies CommandSpec;

export const accountShowSpec = {
  name: "account show",
  summary: "show an account",
  arguments: [{ name: "<account>", summary: "name of the account" }],
  options: dataOption,
  examples: [{ command: "holdfast account show default", does: "its repository, keys and quotas" }],
  printsOnly: true,
} satisfies CommandSpec;

export const accountEditSpec = {
  name: "account edit",
  summary: "change an account's quotas",
  arguments: [{ name: "<account>", summary: "name of the account" }],
  options: { ...dataOption, ...quotaOptions },
  examples: [{ command: "holdfast account edit customer1 --quota 3T --soft-quota 2T", does: "0 takes one away" }],
} satisfies CommandSpec;

const policyArgument = [{ name: "<policy>", summary: "name of the policy" }];
const RETENTION_KINDS = ["importance", "age", "keep", "promotion"] as const;

const policyOptions = {
  ...dataOption,
  schedule: text("--schedule <when>", 'when hosts save: hourly, daily, weekly, "every 4h", or a line of cron'),
  source: list("--source <path>", "what to save (can be given several times), or all: every local file system"),
  exclude: list("--exclude <pattern>", "what to leave out (can be given several times), or none"),
  retention: value("--retention <kind>", RETENTION_KINDS.join(", "), oneOf(RETENTION_KINDS), {
    completes: RETENTION_KINDS,
  }),
  maxAge: value("--max-age <days>", "for age: how long a snapshot stands", wholeNumber),
  keep: list("--keep <rule=count>", "for keep: last, hourly, daily, weekly, monthly, yearly or within, as in daily=7"),
  levels: text("--levels <h,d,w,m>", "for promotion: how many snapshots each level holds (default: 6,7,4,12)"),
  floorNewest: value("--floor-newest <n>", "so many of the newest verified snapshots are never deleted", wholeNumber),
  floorDays: value("--floor-days <days>", "nothing younger is ever deleted", wholeNumber),
  uploadLimit: value("--upload-limit <KiB/s>", "hosts send at most so fast; 0 for as fast as it goes", wholeNumber),
  downloadLimit: value("--download-limit <KiB/s>", "hosts receive at most so fast", wholeNumber),
  minimumInterval: value("--minimum-interval <minutes>", "a host may not save more often", wholeNumber),
};

export const policyAddSpec = {
  name: "policy add",
  summary: "make a policy: what hosts save and when, and how long it stands",
  arguments: policyArgument,
  options: policyOptions,
  examples: [
    { command: 'holdfast policy add databases --schedule "every 4h" --source /var/lib/dumps', does: "importance" },
    {
      command: "holdfast policy add classic --retention keep --keep daily=7 --keep weekly=5 --keep yearly=unlimited",
      does: "restic's rules",
    },
  ],
} satisfies CommandSpec;

export const policyEditSpec = {
  name: "policy edit",
  summary: "change a policy",
  description:
    "Hosts hear of it when they next ask the server, within 15 minutes. --source and --exclude replace the lists.",
  arguments: policyArgument,
  options: policyOptions,
  examples: [{ command: "holdfast policy edit default --floor-days 14", does: "changes what is named" }],
} satisfies CommandSpec;

export const policyListSpec = {
  name: "policy list",
  summary: "list the policies of the server",
  options: dataOption,
  examples: [{ command: "holdfast policy list", does: "a line for each" }],
  printsOnly: true,
} satisfies CommandSpec;

export const policyShowSpec = {
  name: "policy show",
  summary: "show a policy",
  arguments: policyArgument,
  options: dataOption,
  examples: [{ command: "holdfast policy show default", does: "all of its settings" }],
  printsOnly: true,
} satisfies CommandSpec;

export const policyRemoveSpec = {
  name: "policy remove",
  summary: "remove a policy that no host follows",
  arguments: policyArgument,
  options: dataOption,
  examples: [{ command: "holdfast policy remove classic", does: "refused while hosts follow it" }],
} satisfies CommandSpec;
