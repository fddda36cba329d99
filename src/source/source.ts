import type { FileStat } from "../platform/file-stat.ts";
import type { RawPath } from "../platform/raw-path.ts";
import type { ExtendedAttribute, Hole } from "../format/tree.ts";

/**
 * PORT: what is backed up. A walk of local folders, a command's output, an incoming rsync, a block device.
 *
 * A source lists everything in one pass, and gives the content of those files that the engine asks for. It never fails
 * as a whole because of one bad file: what it cannot read it reports (`onProblem`) and leaves out.
 * A good implementation to read first: `local/local-source.ts`.
 */
export interface Source {
  /**
   * Every entry in sorted depth-first order: the top directory (path "", depth 0) first, each directory followed at once
   * by all that is below it, names in one directory ascending by bytes. In batches of any size, for speed; an entry that
   * cannot be read is reported and left out. A directory that cannot be listed is still an entry, with nothing in it.
   */
  entries(): AsyncIterable<readonly SourceEntry[]>;

  /**
   * What is only needed of an entry that is new or changed: its link target and extended attributes. Not called for files
   * whose content is `LocalFile`: the worker that reads them finds out itself. May throw: then the entry is left out.
   */
  details(entry: SourceEntry): EntryDetails;

  /**
   * Called while `entries` is under way: what is below this directory, which it has given, is not wanted. What it had
   * listed of that already is not looked at.
   */
  skip?(directory: SourceEntry): void;

  /** Where the content of a file comes from. Only called for entries of type "file". */
  content(entry: SourceEntry): FileContent;

  /**
   * It tells neither ctime nor inode, and gives made up ones in which other attributes show: a file's content is the same as
   * long as its size and modification time are, and the ctime is not `ALWAYS_READ_SECONDS`.
   */
  readonly tellsNoCtime?: boolean;

  /** Names of owners where the files come from; without it, those of this machine are taken. "" where there is none. */
  readonly owners?: OwnerNames;

  /**
   * Called when all has been read, before a snapshot is made of it: waits for what the other side may still have to say.
   * The last chance to report problems.
   */
  finish?(): Promise<void>;

  /** Releases descriptors and connections. */
  close(): Promise<void>;
}

export interface OwnerNames {
  user(uid: number): string;
  group(gid: number): string;
}

export interface SourceEntry {
  /** Full path in the snapshot, without a slash at the start: `home/ann/notes`; "" for the top. */
  readonly path: RawPath;
  /** Last part of the path; "" for the top. */
  readonly name: RawPath;
  /** Number of parts of the path; 0 for the top. */
  readonly depth: number;
  readonly stat: FileStat;
  /**
   * Of a directory, where the source knows all below it already: the same as long as that and the directory itself are the
   * same, as far as `stat` and `details` would tell. Some bytes, as latin1.
   */
  readonly digest?: string | undefined;
  /** Of a file: its content is to be read although nothing shows that it has changed. */
  readonly isToBeRead?: boolean;
  /** Of a file: `details` are only there once its content was read. */
  readonly detailsComeWithContent?: boolean;
}

/** The ctime, in seconds, of what is to be read whatever is known of it: one that no clock shows. */
export const ALWAYS_READ_SECONDS = 2 ** 40;

export interface EntryDetails {
  readonly xattrs: readonly ExtendedAttribute[];
  /** Of symbolic links. */
  readonly target: RawPath | undefined;
}

export type FileContent = LocalFile | StreamedFile;

/** A file that workers open themselves: `path` below the directory that `rootFd` stands for, through no symbolic link. */
export interface LocalFile {
  readonly kind: "local";
  readonly rootFd: number;
  readonly path: RawPath;
}

/** Content that arrives through the main thread, in pieces of any size. A piece belongs to whoever takes it. */
export interface StreamedFile {
  readonly kind: "stream";
  /** Ranges that read as zeros and are not among the pieces; ascending. */
  readonly holes?: readonly Hole[];
  pieces(): AsyncIterable<Uint8Array>;
  /**
   * All of the content at once, where it is small and there already, so that no time is lost on waiting for what has come;
   * otherwise undefined, and `pieces()` gives it. Valid until the next content is asked for.
   */
  whole?(): Uint8Array | undefined;
}

/** A file or folder that could not be saved, or not as it should be; the run goes on. */
export interface SourceProblem {
  readonly path: RawPath;
  /** What was being done: `open`, `list`, `read`, `stat`, … */
  readonly during: string;
  readonly error: unknown;
}

export type ReportProblem = (problem: SourceProblem) => void;

/** Thrown by a stream of content whose file can't be read, or not to its end: this one file is left out. */
export class FileUnreadableError extends Error {
  override readonly name: string = "FileUnreadableError";
}

/**
 * Thrown at the end of a stream of content that turned out not to be the file's: all that it gave is to be forgotten.
 * `pieces()` may then be called again, once, and gives the right content.
 */
export class ContentToReadAgainError extends FileUnreadableError {
  override readonly name = "ContentToReadAgainError";
}
