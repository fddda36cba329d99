import type { ChecksumName, CompressionName } from "./handshake.ts";
import { RSYNC_EXIT, RsyncRefusedError } from "./rsync-error.ts";

/** One word of a command, as the shell that we stand in for would have understood it. One character is one byte. */
export interface CommandWord {
  readonly text: string;
  /** The same with a backslash before each character that is meant as it stands, where it holds wildcards that are not. */
  readonly glob: string | undefined;
}

/** What an rsync asks of `rsync --server`. */
export interface ServerArguments {
  /** It wants files from us; otherwise it sends us some. */
  readonly isSender: boolean;
  /** The other arguments are not on the command line: they come first on the connection. */
  readonly secluded: boolean;
  readonly recursive: boolean;
  /** Folders are sent without what is in them. */
  readonly directories: boolean;
  readonly owners: boolean;
  readonly groups: boolean;
  readonly permissions: boolean;
  readonly times: boolean;
  readonly symlinks: boolean;
  readonly devices: boolean;
  readonly specials: boolean;
  readonly hardLinks: boolean;
  readonly acls: boolean;
  readonly xattrs: boolean;
  readonly accessTimes: boolean;
  readonly creationTimes: boolean;
  readonly relative: boolean;
  readonly impliedDirectories: boolean;
  readonly checksum: boolean;
  /** Files of the same size and time are sent all the same. */
  readonly ignoresTimes: boolean;
  /** Symbolic links that lead out of what is sent are left out. */
  readonly safeLinks: boolean;
  readonly dryRun: boolean;
  readonly deletes: boolean;
  readonly prunesEmpty: boolean;
  readonly numericIds: boolean;
  readonly verbose: boolean;
  /** It shows its user what changes. */
  readonly itemizes: boolean;
  readonly listsOnly: boolean;
  readonly compress: boolean;
  readonly compressLevel: number | undefined;
  readonly compressChoice: CompressionName | undefined;
  readonly checksumChoice: ChecksumName | undefined;
  readonly seed: number | undefined;
  readonly timeoutSeconds: number;
  /** Names of what it wants follow on the line. */
  readonly filesFrom: boolean;
  readonly ignoresMissing: boolean;
  readonly minimumBytes: number;
  readonly maximumBytes: number;
  /** Flags after `-e.` */
  readonly capabilities: string;
  /** Why nothing will come of it. The rest is understood as far as it takes to greet the client and tell it. */
  readonly refusal: RsyncRefusedError | undefined;
  /** After the first ".": what is wanted, or where it is to go. */
  readonly paths: readonly CommandWord[];
}

/** Letters that tell how to compare, write or show, which is nothing to us: our snapshots are written in one way. */
const IDLE_LETTERS = "qKOJyWESix";
const LETTERS_WITH_NUMBER = "@B";

const IDLE_OPTIONS = new Set([
  "no-r",
  "no-W",
  "inplace",
  "partial",
  "delay-updates",
  "fsync",
  "preallocate",
  "mkpath",
  "force",
  "size-only",
  "fuzzy",
  "ignore-errors",
  "stats",
  "msgs2stderr",
  "no-msgs2stderr",
  "open-noatime",
  "use-qsort",
  "super",
  "no-iconv",
  "times",
]);
const IDLE_OPTIONS_WITH_VALUE = new Set([
  "bwlimit",
  "block-size",
  "modify-window",
  "max-delete",
  "skip-compress",
  "compress-threads",
  "stderr",
  "info",
  "debug",
  "max-alloc",
  "partial-dir",
  "temp-dir",
]);
const DELETE_OPTIONS = new Set([
  "delete",
  "delete-before",
  "delete-during",
  "delete-delay",
  "delete-after",
  "delete-excluded",
]);

/** Why an option makes no sense here. */
const REFUSED_OPTIONS = new Map([
  ["append", "a snapshot is made from whole files"],
  ["backup-dir", "older versions are kept in older snapshots"],
  ["suffix", "older versions are kept in older snapshots"],
  ["compare-dest", "unchanged files are found by themselves"],
  ["copy-dest", "unchanged files are found by themselves"],
  ["link-dest", "unchanged files are found by themselves"],
  ["existing", "a snapshot holds all that is sent"],
  ["ignore-existing", "a snapshot holds all that is sent"],
  ["remove-source-files", "a backup does not take files away"],
  ["remove-sent-files", "a backup does not take files away"],
  ["only-write-batch", "a batch cannot be written here"],
  ["write-devices", "devices are not written to"],
  ["copy-devices", "devices are saved as what they are"],
  ["usermap", "owners are saved as they are"],
  ["groupmap", "owners are saved as they are"],
  ["iconv", "names are saved byte for byte"],
  ["delete-missing-args", "nothing can be deleted from a snapshot"],
  ["copy-unsafe-links", "links are given as what they are"],
  ["munge-links", "links are saved as what they are"],
  ["fake-super", "owners and devices are saved as they are"],
  ["daemon", "there is no rsync daemon"],
  ["config", "there is no rsync daemon"],
]);
const REFUSED_LETTERS = new Map([
  ["b", "older versions are kept in older snapshots (-b)"],
  ["u", "a snapshot holds all that is sent (-u)"],
  ["L", "links are given as what they are (-L)"],
  ["k", "links are given as what they are (-k)"],
  ["C", "filter files that lie among the files are not read here (-C)"],
]);
/** What a client that fetches does at its own end. */
const OWN_OF_FETCHER = new Set(["b", "u", "backup-dir", "suffix", "existing", "ignore-existing"]);
const OPTIONS_WITH_SEPARATE_VALUE = new Set(["partial-dir", "temp-dir", "files-from", "backup-dir", "log-file"]);

type Growing = { -readonly [Key in keyof ServerArguments]: ServerArguments[Key] };

/** Whether a command is one of a dry run, as far as it tells. What is sent later cannot take that back. */
export function isDryRun(command: string): boolean {
  try {
    return parseServerArguments(splitCommand(command).slice(1)).dryRun;
  } catch {
    // It is refused, with the reason, by whoever serves it.
    return false;
  }
}

/**
 * Understands what follows `rsync` in the command that an rsync client starts. What makes no sense for snapshots becomes
 * the `refusal`, with a message for the user at the other end. Throws `RsyncRefusedError` where no rsync client can be
 * there to be told.
 */
export function parseServerArguments(words: readonly CommandWord[]): ServerArguments {
  const parsed: Growing = {
    isSender: false,
    secluded: false,
    recursive: false,
    directories: false,
    owners: false,
    groups: false,
    permissions: false,
    times: false,
    symlinks: false,
    devices: false,
    specials: false,
    hardLinks: false,
    acls: false,
    xattrs: false,
    accessTimes: false,
    creationTimes: false,
    relative: false,
    impliedDirectories: true,
    checksum: false,
    ignoresTimes: false,
    safeLinks: false,
    dryRun: false,
    deletes: false,
    prunesEmpty: false,
    numericIds: false,
    verbose: false,
    itemizes: false,
    listsOnly: false,
    compress: false,
    compressLevel: undefined,
    compressChoice: undefined,
    checksumChoice: undefined,
    seed: undefined,
    timeoutSeconds: 0,
    filesFrom: false,
    ignoresMissing: false,
    minimumBytes: 0,
    maximumBytes: Number.POSITIVE_INFINITY,
    capabilities: "",
    refusal: undefined,
    paths: [],
  };
  let isServer = false;
  let at = 0;
  for (; at < words.length && words[at].text !== "."; at++) {
    const { text } = words[at];
    if (text === "--server") isServer = true;
    else if (text === "--sender") parsed.isSender = true;
    else if (text.startsWith("--")) at += longOption(parsed, text, words[at + 1]?.text);
    else if (text.startsWith("-")) parseLetters(parsed, text.slice(1));
    else parsed.refusal ??= new RsyncRefusedError(`unexpected argument: ${text}`, RSYNC_EXIT.usage);
  }
  if (!isServer) throw new RsyncRefusedError("only an rsync client can start rsync here", RSYNC_EXIT.usage);
  // A list of names means the folders in it as such, where -r does not say otherwise.
  return { ...parsed, directories: parsed.directories || parsed.filesFrom, paths: words.slice(at + 1) };
}

function parseLetters(parsed: Growing, letters: string): void {
  for (let i = 0; i < letters.length; i++) {
    const letter = letters[i];
    if (parsed.isSender && OWN_OF_FETCHER.has(letter)) continue;
    const refused = REFUSED_LETTERS.get(letter);
    if (refused !== undefined) {
      parsed.refusal ??= new RsyncRefusedError(`rsync's options are refused here: ${refused}`);
      continue;
    }
    if (letter === "e") {
      parsed.capabilities = letters.slice(i + 1).replace(/^[0-9]*\.[0-9]*/, "");
      return;
    }
    if (LETTERS_WITH_NUMBER.includes(letter)) return;
    if (!setLetter(parsed, letter) && !IDLE_LETTERS.includes(letter)) {
      parsed.refusal ??= new RsyncRefusedError(`rsync's option -${letter} is not known here`, RSYNC_EXIT.usage);
    }
  }
}

function setLetter(parsed: Growing, letter: string): boolean {
  const name = LETTERS.get(letter);
  if (name === undefined) return false;
  parsed[name] = true;
  if (letter === "D") parsed.specials = true;
  return true;
}

type FlagName = {
  [Key in keyof ServerArguments]: ServerArguments[Key] extends boolean ? Key : never;
}[keyof ServerArguments];

const LETTERS = new Map<string, FlagName>([
  ["v", "verbose"],
  ["n", "dryRun"],
  ["l", "symlinks"],
  ["d", "directories"],
  ["m", "prunesEmpty"],
  ["H", "hardLinks"],
  ["o", "owners"],
  ["g", "groups"],
  ["D", "devices"],
  ["t", "times"],
  ["U", "accessTimes"],
  ["N", "creationTimes"],
  ["p", "permissions"],
  ["A", "acls"],
  ["X", "xattrs"],
  ["r", "recursive"],
  ["c", "checksum"],
  ["I", "ignoresTimes"],
  ["R", "relative"],
  ["z", "compress"],
  ["s", "secluded"],
]);

/** How many more words the option takes. */
function longOption(parsed: Growing, text: string, following: string | undefined): number {
  try {
    return parseLongOption(parsed, text, following);
  } catch (error) {
    if (!(error instanceof RsyncRefusedError)) throw error;
    parsed.refusal ??= error;
    return 0;
  }
}

function parseLongOption(parsed: Growing, text: string, following: string | undefined): number {
  const equals = text.indexOf("=");
  const name = equals < 0 ? text.slice(2) : text.slice(2, equals);
  const isSeparate = equals < 0 && OPTIONS_WITH_SEPARATE_VALUE.has(name);
  const value = equals < 0 ? (following ?? "") : text.slice(equals + 1);
  if (parsed.isSender && OWN_OF_FETCHER.has(name)) return isSeparate ? 1 : 0;
  const refused = REFUSED_OPTIONS.get(name);
  if (refused !== undefined) throw new RsyncRefusedError(`rsync's option --${name} is refused here: ${refused}`);
  if (IDLE_OPTIONS.has(name) || IDLE_OPTIONS_WITH_VALUE.has(name)) return isSeparate ? 1 : 0;
  if (DELETE_OPTIONS.has(name)) parsed.deletes = true;
  else if (name === "numeric-ids") parsed.numericIds = true;
  else if (name === "safe-links") parsed.safeLinks = true;
  else if (name === "ignore-times") parsed.ignoresTimes = true;
  else if (name === "list-only") parsed.listsOnly = true;
  else if (name === "log-format" || name === "out-format") parsed.itemizes = value.includes("%i");
  else if (name === "no-specials") parsed.specials = false;
  else if (name === "specials") parsed.specials = true;
  else if (name === "no-relative") parsed.relative = false;
  else if (name === "relative") parsed.relative = true;
  else if (name === "no-implied-dirs") parsed.impliedDirectories = false;
  else if (name === "ignore-missing-args") parsed.ignoresMissing = true;
  else if (name === "dirs") parsed.directories = true;
  else if (name === "timeout") parsed.timeoutSeconds = number(name, value, 86_400);
  else if (name === "compress-level") parsed.compressLevel = number(name, value, 1_000);
  else if (name === "new-compress") setCompression(parsed, "zlibx");
  else if (name === "old-compress") setCompression(parsed, "zlib");
  else if (name === "compress-choice") setCompression(parsed, value);
  else if (name === "checksum-choice") setChecksum(parsed, value);
  else if (name === "checksum-seed") parsed.seed = number(name, value, 0x7fffffff) | 0;
  else if (name === "min-size") parsed.minimumBytes = size(name, value);
  else if (name === "max-size") parsed.maximumBytes = size(name, value);
  else if (name === "from0") return 0;
  else if (name === "files-from") parsed.filesFrom = filesFromHere(value);
  else throw new RsyncRefusedError(`rsync's option --${name} is not known here`, RSYNC_EXIT.usage);
  return isSeparate ? 1 : 0;
}

function setCompression(parsed: Growing, name: string): void {
  // A client that names one does not expect to be asked which.
  parsed.compressChoice = "none";
  if (name !== "zstd" && name !== "zlibx" && name !== "zlib" && name !== "none") {
    throw new RsyncRefusedError(`the compression ${name} is not known here; zstd, zlibx and zlib are`);
  }
  parsed.compressChoice = name;
  parsed.compress = name !== "none";
}

function setChecksum(parsed: Growing, value: string): void {
  // A client that names one does not expect to be asked which.
  parsed.checksumChoice = "md5";
  parsed.checksumChoice = checksumNamed(value);
}

function checksumNamed(value: string): ChecksumName | undefined {
  const [transfer, listed] = value.split(",");
  if (listed !== undefined && listed !== transfer) {
    throw new RsyncRefusedError("two different checksums in --checksum-choice are not known here");
  }
  switch (transfer) {
    case "auto":
      return undefined;
    case "xxh128":
    case "xxh3":
    case "xxh64":
    case "md5":
    case "sha1":
      return transfer;
    case "xxhash":
      return "xxh64";
    default:
      throw new RsyncRefusedError(
        `the checksum ${transfer} is refused here; xxh128, xxh3, xxh64, md5 and sha1 are known`,
      );
  }
}

function filesFromHere(value: string): boolean {
  if (value === "-") return true;
  throw new RsyncRefusedError("--files-from can name a file at your end only");
}

function number(name: string, value: string, maximum: number): number {
  const parsed = Number(value);
  if (!/^-?[0-9]+$/.test(value) || Math.abs(parsed) > maximum) {
    throw new RsyncRefusedError(`--${name}=${value} is out of range`, RSYNC_EXIT.usage);
  }
  return parsed;
}

const SIZE_UNITS = new Map([
  ["", 1],
  ["b", 1],
  ["k", 1024],
  ["m", 1024 ** 2],
  ["g", 1024 ** 3],
  ["t", 1024 ** 4],
  ["p", 1024 ** 5],
]);

/** rsync's sizes: `1.5m`, `10kib`, `100kb` (of 1,000), `1g-1`. */
function size(name: string, value: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([bkmgtp]?)(b|ib)?([+-]1)?$/i.exec(value);
  if (match === null) throw new RsyncRefusedError(`--${name}=${value} is no size`, RSYNC_EXIT.usage);
  const [, digits, unit, suffix, step] = match;
  const binary = SIZE_UNITS.get(unit.toLowerCase()) ?? 1;
  const factor = suffix?.toLowerCase() === "b" ? 1000 ** Math.round(Math.log2(binary) / 10) : binary;
  return Math.floor(Number(digits) * factor) + Number(step ?? 0);
}

/**
 * Splits the command line that an rsync client sends through ssh, as a shell would, but with no other powers of one:
 * quotes, backslashes, and a `~` for where everything begins. Throws where something else is meant for a shell.
 */
export function splitCommand(command: string): CommandWord[] {
  const words: CommandWord[] = [];
  let text: string | undefined;
  let glob = "";
  let hasWildcard = false;
  const literal = (char: string): void => {
    text = (text ?? "") + char;
    glob += /[*?[\]\\]/.test(char) ? `\\${char}` : char;
  };
  const finish = (): void => {
    if (text !== undefined) words.push({ text, glob: hasWildcard ? glob : undefined });
    [text, glob, hasWildcard] = [undefined, "", false];
  };
  for (let i = 0; i < command.length; i++) {
    const char = command[i];
    if (char === "'" || char === '"') {
      text ??= "";
      for (i++; i < command.length && command[i] !== char; i++) {
        if (char === '"' && command[i] === "\\" && '"\\$`'.includes(command[i + 1])) i++;
        else if (char === '"' && "$`".includes(command[i])) throw forShell(command[i]);
        literal(command[i]);
      }
      if (i >= command.length) throw new RsyncRefusedError("a quote in the command is not closed", RSYNC_EXIT.usage);
    } else if (char === "\\") {
      i++;
      if (i < command.length) literal(command[i]);
    } else if (/[ \t\n]/.test(char)) {
      finish();
    } else if (char === "~" && text === undefined && /^(?:\/|[ \t\n]|$)/.test(command.slice(i + 1, i + 2))) {
      text = "";
    } else if (/[&;|<>()$`]/.test(char)) {
      throw forShell(char);
    } else if (/[*?[\]]/.test(char)) {
      text = (text ?? "") + char;
      glob += char;
      hasWildcard = true;
    } else {
      literal(char);
    }
  }
  finish();
  return words;
}

function forShell(char: string): RsyncRefusedError {
  return new RsyncRefusedError(`there is no shell here that could make something of ${char}`, RSYNC_EXIT.usage);
}

/** A word that is meant as it stands. */
export const plainWord = (text: string): CommandWord => ({ text, glob: undefined });
