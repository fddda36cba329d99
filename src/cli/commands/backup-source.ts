/** From the arguments of `backup` to what is saved. */
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { messageOf, UsageError } from "../../errors.ts";
import { MAXIMUM_NAME_BYTES } from "../../format/tree.ts";
import {
  displayPath,
  rawPathFromBytes,
  rawPathFromText,
  rawPathToText,
  type RawPath,
} from "../../platform/raw-path.ts";
import { openCommandSource } from "../../source/command-source.ts";
import { openLocalSource } from "../../source/local/local-source.ts";
import { normaliseRoot } from "../../source/local/roots.ts";
import type { RemoteSourceOptions } from "../../source/rsync/index.ts";
import type { ReportProblem, Source } from "../../source/source.ts";
import type { OptionValues } from "../command-spec.ts";
import { expandWildcards } from "../expand-wildcards.ts";
import { requirePattern } from "../option-values.ts";
import { rawArgument, rawArguments } from "../raw-argument.ts";
import type { ScanOptions } from "../scan.ts";
import type { StartedHost } from "./backup.ts";
import type { backupSpec } from "./backup.spec.ts";
import { remoteShell } from "./remote-shell.ts";

type Rsync = typeof import("../../source/rsync/index.ts");

type BackupOptions = OptionValues<typeof backupSpec.options>;

export interface ChosenSource {
  /** What the snapshot says it holds: full paths. */
  readonly paths: readonly RawPath[];
  /** Patterns as they were given, for the snapshot. */
  readonly excludes: readonly string[];
  /** The host that it is on, where that is not this one. */
  readonly host: string | undefined;
  /** What can be counted beforehand. */
  readonly scannable?: ScanOptions;
  /** `previous` gives the last version of a file: a remote source then only needs what has changed in it. */
  open(onProblem: ReportProblem, previous: PreviousContent): OpeningSource;
}

/** A source that is at hand, or on its way to be. */
export interface OpeningSource {
  readonly source: Source;
  /** Resolves when it can be listed, and nobody is asked for a password any more. */
  readonly opened: Promise<unknown>;
}

const atOnce = (source: Source): OpeningSource => ({ source, opened: Promise.resolve() });

const BYTE_ORDER_MARK = Buffer.from("\ufeff");

export type PreviousContent = RemoteSourceOptions["previous"];

/** Throws `UsageError` where the arguments make no sense together. Reads the files that they name. */
export async function chooseSource(
  args: readonly string[],
  options: BackupOptions,
  skipFolders: readonly string[],
  started?: StartedHost,
): Promise<ChosenSource> {
  if (options.stdin && options.stdinFromCommand) {
    throw new UsageError("--stdin and --stdin-from-command exclude each other");
  }
  if (options.stdin || options.stdinFromCommand) return streamSource(args, options);
  // The rsync protocol is loaded only where another host is named.
  if (started !== undefined) {
    requireText(args);
    return remoteSource(await import("../../source/rsync/index.ts"), started, options);
  }
  const listed = readPathLists(options);
  const paths = [...rawArguments(args), ...listed];
  if (paths.length === 0) {
    const hasList = options.filesFrom.length + options.filesFromVerbatim.length + options.filesFromRaw.length > 0;
    throw new UsageError(hasList ? "the list of what to save is empty" : "nothing is named that should be saved", {
      hint: 'name files or folders: "holdfast backup /home /etc"',
    });
  }
  return localSource(paths, options, skipFolders);
}

/** Whether standard input holds data. */
export function takesInput(options: BackupOptions): boolean {
  const lists = [...options.filesFrom, ...options.filesFromVerbatim, ...options.filesFromRaw];
  const patternFiles = [...options.excludeFile, ...options.iexcludeFile];
  return options.stdin || [...lists, ...patternFiles].includes("-");
}

function streamSource(args: readonly string[], options: BackupOptions): ChosenSource {
  if (options.stdin && args.length > 0) throw new UsageError("with --stdin no paths can be saved besides");
  if (options.stdinFromCommand && args.length === 0) {
    throw new UsageError("no command is named", { hint: "holdfast backup --stdin-from-command -- pg_dump mydb" });
  }
  const fileName = rawArgument(options.stdinFilename).replace(/^\/+/, "") as RawPath;
  if (fileName.split("/").some((part) => part.length > MAXIMUM_NAME_BYTES)) {
    throw new UsageError(`--stdin-filename: a name can have ${MAXIMUM_NAME_BYTES} bytes at most`);
  }
  return {
    paths: [`/${fileName}` as RawPath],
    excludes: [],
    host: undefined,
    open: () =>
      atOnce(
        openCommandSource({
          fileName,
          content: options.stdin ? { kind: "input", input: process.stdin } : { kind: "command", argv: args },
        }),
      ),
  };
}

function localSource(paths: readonly RawPath[], options: BackupOptions, skipFolders: readonly string[]): ChosenSource {
  const excludes = [...patternsInOrder(options, (pattern) => [pattern]), ...options.excludeFile.flatMap(readPatterns)];
  const excludesIgnoringCase = [...options.iexclude, ...options.iexcludeFile.flatMap(readPatterns)];
  const scannable = {
    paths,
    excludes,
    excludesIgnoringCase,
    excludeCaches: options.excludeCaches,
    excludeIfPresent: options.excludeIfPresent,
    ...(options.excludeLargerThan !== undefined && { excludeLargerThanBytes: options.excludeLargerThan }),
    excludeFolders: skipFolders.map((folder) => rawPathFromText(resolve(folder))),
    oneFileSystem: options.oneFileSystem,
  };
  return {
    paths: [...new Set(paths.map((path) => `/${normaliseRoot(path).path}` as RawPath))].toSorted(),
    excludes: [...excludes, ...excludesIgnoringCase],
    host: undefined,
    scannable,
    open: (onProblem) => atOnce(openLocalSource({ ...scannable, onProblem })),
  };
}

function remoteSource(rsync: Rsync, { places, process }: StartedHost, options: BackupOptions): ChosenSource {
  if (options.filesFrom.length + options.filesFromVerbatim.length + options.filesFromRaw.length > 0) {
    throw new UsageError("lists of files are of this machine; name the places on the other host as arguments");
  }
  if (options.excludeCaches || options.excludeIfPresent.length > 0) {
    throw new UsageError("folders on another host cannot be looked into before they come: use --exclude");
  }
  const patternsOfFile = (file: string) => rsync.patternsOfLines(readPatterns(file));
  const excludes = [
    ...patternsInOrder(options, (given) => patternsOrFile(given, patternsOfFile)),
    ...options.excludeFile.flatMap(patternsOfFile),
  ];
  const excludesIgnoringCase = [...options.iexclude, ...options.iexcludeFile.flatMap(patternsOfFile)];
  return {
    paths: places.paths,
    excludes: [...excludes, ...excludesIgnoringCase],
    host: places.host,
    open(onProblem, previous) {
      const unwanted = new AbortController();
      const opened = rsync.openRemoteSource({
        places,
        shell: remoteShell(options),
        started: process,
        excludes,
        excludesIgnoringCase,
        excludeLargerThanBytes: options.excludeLargerThan,
        oneFileSystem: options.oneFileSystem,
        compress: options.compressTransfer,
        previous,
        signal: unwanted.signal,
        onProblem,
      });
      return { source: rsync.deferredSource(opened, unwanted), opened };
    },
  };
}

/** ssh carries commands as text. */
function requireText(args: readonly string[]): void {
  const other = rawArguments(args).find((arg) => rawPathToText(arg) === undefined);
  if (other === undefined) return;
  throw new UsageError(`a path on another host can only be named where it is UTF-8: ${displayPath(other)}`, {
    hint: "name the folder that it lies in: what is below is saved whatever its name",
  });
}

/** Of `--exclude` and `-e` as they were given one after another: a later one may take an earlier one back. */
function patternsInOrder(
  { exclude, excludeThese }: BackupOptions,
  patternsOfShort: (given: string) => readonly string[],
): string[] {
  const patterns = [
    ...exclude.map(({ pattern, order }) => ({ patterns: [pattern], order })),
    ...excludeThese.map(({ pattern, order }) => ({ patterns: patternsOfShort(pattern), order })),
  ];
  return patterns.toSorted((a, b) => a.order - b.order).flatMap((given) => given.patterns);
}

/**
 * Whoever saves another host writes `-e my_excludes` and means a file here. What is no file is a pattern, and so is the
 * name of one: then nothing that was meant to be left out is saved, whichever was meant.
 */
function patternsOrFile(given: string, patternsOfFile: (file: string) => readonly string[]): string[] {
  const isFile = !/[*?[\]!]/.test(given) && statSync(given, { throwIfNoEntry: false })?.isFile() === true;
  return isFile ? [given, ...patternsOfFile(given)] : [given];
}

function readPatterns(file: string): string[] {
  const lines = withoutByteOrderMark(readList(file, "exclude file")).toString("utf8").split(/\r?\n/);
  for (const [index, line] of lines.entries()) requirePattern(line, `${file}:${index + 1}: `);
  return lines;
}

function readPathLists(options: BackupOptions): RawPath[] {
  return [
    ...options.filesFrom.flatMap((file) => readLines(file).flatMap(pathsOfLine)),
    ...options.filesFromVerbatim.flatMap((file) => readLines(file).filter((line) => line !== "")),
    ...options.filesFromRaw.flatMap(readNulTerminated),
  ];
}

function readLines(file: string): RawPath[] {
  const bytes = withoutByteOrderMark(readList(file, "list of files"));
  return rawPathFromBytes(bytes).split(/\r?\n/) as RawPath[];
}

function readNulTerminated(file: string): RawPath[] {
  const text = rawPathFromBytes(readList(file, "list of files"));
  if (text !== "" && !text.endsWith("\0")) {
    throw new UsageError(`the list of files ${file} does not end with a NUL byte`, { hint: "it may be incomplete" });
  }
  return text.split("\0").slice(0, -1) as RawPath[];
}

/** As restic: blank lines and comments are skipped, and wildcards stand for what they match. */
function pathsOfLine(line: RawPath): RawPath[] {
  // Not `trim`, to which the second byte of "à" is a space.
  const pattern = line.replaceAll(/^[ \t\v\f\r]+|[ \t\v\f\r]+$/g, "") as RawPath;
  return pattern === "" || pattern.startsWith("#") ? [] : expandWildcards(pattern);
}

/** Editors of other systems begin a text file with one. */
function withoutByteOrderMark(bytes: Buffer): Buffer {
  return bytes.subarray(0, 3).equals(BYTE_ORDER_MARK) ? bytes.subarray(3) : bytes;
}

function readList(file: string, what: string): Buffer {
  try {
    return readFileSync(file === "-" ? 0 : file);
  } catch (error) {
    throw new UsageError(`could not read the ${what} ${file}: ${messageOf(error)}`, { cause: error });
  }
}
