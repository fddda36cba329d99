import { UsageError } from "../../errors.ts";
import { flag, list, text, value, valueOr, valueList, type CommandSpec } from "../command-spec.ts";
import { longKeepOptions } from "./keep-options.ts";
import { moment, oneOf, portNumber, requirePattern } from "../option-values.ts";
import { parseBytes } from "../output/format-bytes.ts";

export const COMPRESSION_MODES = ["auto", "off", "fastest", "better", "max"] as const;

export const backupSpec = {
  name: "backup",
  summary: "save files and folders as a new snapshot",
  description:
    "Only what has changed since the last snapshot of the same host and paths is read, and only what the repository does " +
    "not hold yet is stored. A run that is interrupted loses nothing: the next one goes on from there. With --keep-… " +
    "rules, older snapshots of the same host and paths that none of them keeps are removed afterwards, and pruned.",
  arguments: [{ name: "[path...]", summary: "what to save, here or on another HOST:PATH", completes: "file" }],
  options: {
    exclude: valueList(
      "--exclude <pattern>",
      "leave out what matches (rules as in .gitignore; can be given several times)",
      patternInOrder,
    ),
    excludeThese: valueList(
      "-e, --exclude-these <pattern>",
      "the same; for HOST:PATH also the name of a file with patterns, if there is one",
      patternInOrder,
      { completes: "file" },
    ),
    iexclude: valueList("--iexclude <pattern>", "the same, but upper and lower case are one", requirePattern),
    excludeFile: list("--exclude-file <file>", "read such patterns from a file, one a line", { completes: "file" }),
    iexcludeFile: list("--iexclude-file <file>", "the same, but upper and lower case are one", { completes: "file" }),
    excludeCaches: flag("--exclude-caches", "leave out what is in folders marked with a CACHEDIR.TAG"),
    excludeIfPresent: valueList(
      "--exclude-if-present <name[:header]>",
      "leave out what is in folders that hold this file (which begins with this header)",
      excludeTag,
    ),
    excludeLargerThan: value(
      "--exclude-larger-than <size>",
      "leave out files larger than this (5G, 10MiB)",
      parseBytes,
    ),
    oneFileSystem: flag("-x, --one-file-system", "stay on the file systems of the paths"),
    filesFrom: list(
      "--files-from <file>",
      "read paths from a file, one a line, with wildcards (- for standard input)",
      {
        completes: "file",
      },
    ),
    filesFromVerbatim: list("--files-from-verbatim <file>", "read paths from a file, one a line, as they are", {
      completes: "file",
    }),
    filesFromRaw: list("--files-from-raw <file>", "read paths from a file, ended by NUL bytes", { completes: "file" }),
    rsh: text("--rsh <command>", "remote shell for HOST:PATH, with its options (default: ssh)", {
      environment: "HOLDFAST_RSH",
    }),
    sshPort: value("--ssh-port <port>", "port of the ssh server on HOST", portNumber),
    sshIdentity: text("--ssh-identity <file>", "private key to log in to HOST with", { completes: "file" }),
    compressTransfer: flag("-z, --compress-transfer", "compress what travels from HOST"),
    tag: valueList("--tag <tags>", "mark the snapshot with these tags, separated by commas", (tags) =>
      tags.split(",").map((tag) => tag.trim()),
    ),
    host: text("-H, --host <host>", "name of the host in the snapshot (default: this machine's)", {
      environment: "HOLDFAST_HOST",
    }),
    parent: text("--parent <snapshot>", "compare with this snapshot (default: the last of the same host and paths)"),
    force: flag("-f, --force", "read everything again"),
    ignoreInode: flag("--ignore-inode", "do not read a file again because its inode number is another"),
    ignoreCtime: flag("--ignore-ctime", "do not read a file again because only its ctime has changed"),
    dryRun: flag("-n, --dry-run", "store nothing, only show what would be done"),
    stdin: flag("--stdin", "save what comes on standard input, as one file"),
    stdinFromCommand: flag("--stdin-from-command", "save what a command prints; the arguments are the command"),
    stdinFilename: valueOr("stdin", "--stdin-filename <name>", "name for that file (default: stdin)", (name) => name),
    compression: valueOr(
      "auto",
      "--compression <mode>",
      `${COMPRESSION_MODES.join(", ")} (default: auto)`,
      oneOf(COMPRESSION_MODES),
      {
        environment: "HOLDFAST_COMPRESSION",
        completes: COMPRESSION_MODES,
      },
    ),
    ...longKeepOptions,
    time: value("--time <time>", "time of the snapshot (default: now)", moment),
  },
  examples: [
    { command: "holdfast -r /srv/backup backup /home /etc", does: "saves two folders" },
    {
      command: "holdfast -r /srv/backup backup / --one-file-system --exclude-caches --exclude '/var/tmp/*'",
      does: "saves a whole system, without other file systems and caches",
    },
    {
      command: "holdfast -r /srv/backup backup root@example.com:/etc root@example.com:/home",
      does: "saves folders of another host, which needs only rsync and an ssh server",
    },
    {
      command: "holdfast backup -v -e my_excludes example.com:/home -r sftp:box:/backup --keep-within 29d",
      does: "the same with patterns from a file, and removes snapshots of it that are older than 29 days",
    },
    {
      command: "holdfast -r /srv/backup backup --stdin-filename db.sql --stdin-from-command -- pg_dump mydb",
      does: "saves what pg_dump prints; if it fails, there is no snapshot",
    },
  ],
  exitCodes: ["3  the snapshot was made, but some of the files could not be read"],
} satisfies CommandSpec;

/** What one of two options that complete each other was given, and which came first. */
interface OrderedPattern {
  readonly pattern: string;
  readonly order: number;
}

let patternsGiven = 0;

function patternInOrder(pattern: string): OrderedPattern {
  return { pattern: requirePattern(pattern), order: patternsGiven++ };
}

function excludeTag(tag: string): string {
  const name = tag.split(":", 1)[0];
  if (name !== "" && !name.includes("/")) return tag;
  throw new UsageError(`"${tag}" is not the name of a file`, { hint: "write NAME, or NAME:HEADER" });
}
