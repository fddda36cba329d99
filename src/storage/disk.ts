/**
 * What local storage needs of a disc: one folder tree, with paths relative to its top ("" is the top itself, parts
 * joined by "/"). `node-disk.ts` is the real one; `testing/simulated-disk.ts` loses power.
 *
 * Failures are errors with the errno name in `code` (`ENOENT`, `ENOSPC`, …), as node:fs throws them. Nothing here
 * follows a symbolic link in the last part of a path. What is not synced may be lost in a power cut, in any order.
 */
export interface Disk {
  /** For people: the folder. */
  readonly location: string;
  /** The path under which any thread of this process may open a file itself; undefined where that is not so. */
  readonly pathOf?: ((path: string) => string) | undefined;
  /** Makes a new file for writing; `EEXIST` where the name is taken. */
  create(path: string): Promise<DiskFile>;
  /** Opens for reading. */
  open(path: string): Promise<DiskFile>;
  /** Gives a file another name, in one step as seen by readers; `EEXIST` where that name is taken. */
  moveIfAbsent(from: string, to: string): Promise<void>;
  /** Removes a file's name. */
  remove(path: string): Promise<void>;
  /** Undefined where there is nothing of that name. */
  stat(path: string): Promise<DiskStat | undefined>;
  /** As `stat` of each, but made for many. */
  statAll(paths: readonly string[]): Promise<(DiskStat | undefined)[]>;
  list(folder: string): Promise<DiskEntry[]>;
  /** `EEXIST` where the name is taken. */
  makeFolder(path: string): Promise<void>;
  /** The folder's entries as they are now survive a power cut: not what lies in the files or folders they name. */
  syncFolder(path: string): Promise<void>;
}

export interface DiskFile {
  /** Appends. May take fewer bytes than it was given: returns how many, at least one. */
  write(pieces: readonly Uint8Array[]): Promise<number>;
  /** Reads at `offset`. May give fewer bytes than asked for: returns how many, 0 at the end. */
  read(into: Uint8Array, offset: number): Promise<number>;
  stat(): Promise<DiskStat>;
  /** What was written survives a power cut, if the name does. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export type DiskEntryKind = "file" | "folder" | "other";

export interface DiskEntry {
  readonly name: string;
  readonly kind: DiskEntryKind;
  /** Where the disc tells it along with the name. */
  readonly stat?: DiskStat;
}

export interface DiskStat {
  readonly kind: DiskEntryKind;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}
