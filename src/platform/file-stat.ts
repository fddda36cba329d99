/** What `statx(2)` tells of one file, without following a symbolic link. Plain data, exact to the nanosecond. */
export interface FileStat {
  readonly type: FileType;
  /** The low 12 bits: permissions, setuid, setgid, sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  /** Seconds since 1970, negative before; with `mtimeNanoseconds` (0 to 999,999,999) always added to it. */
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly ctimeSeconds: number;
  readonly ctimeNanoseconds: number;
  /** Inode number in two halves of 32 bits, because it may be larger than 2^53. */
  readonly inodeHigh: number;
  readonly inodeLow: number;
  readonly links: number;
  /** Space taken on disc. Less than the size where the file has holes (or is compressed by the file system). */
  readonly allocatedBytes: number;
  /** The file system it lies on, as (major, minor). */
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** For block and character devices: which. */
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** `STATX_ATTR_*` flags that are kept: see `INODE_FLAGS`. */
  readonly inodeFlags: number;
}

export type FileType = "file" | "directory" | "symlink" | "fifo" | "socket" | "char" | "block";

/** Inode flags that a backup keeps (bits as stored in trees; `chattr` letter in the comment). */
export const INODE_FLAGS = {
  /** chattr +i */
  immutable: 1,
  /** chattr +a */
  appendOnly: 2,
  /** chattr +d */
  noDump: 4,
} as const;
