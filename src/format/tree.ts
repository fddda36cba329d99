import type { FileType } from "../platform/file-stat.ts";
import type { RawPath } from "../platform/raw-path.ts";

/** A blob's id: the 32 bytes of its keyed hash, as 64 hex digits where it is text. */
export type BlobId = Uint8Array & { readonly __blobId?: true };

/** One name in a directory, as stored in a tree (docs/format.md, "Tree"). */
export type TreeEntry = FileEntry | DirectoryEntry | SymlinkEntry | DeviceEntry | SpecialEntry;

export interface EntryAttributes {
  readonly name: RawPath;
  readonly type: FileType;
  /** The low 12 bits of st_mode. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Empty where the number has no name on the host. */
  readonly user: string;
  readonly group: string;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /** See `INODE_FLAGS`; 0 for most. */
  readonly inodeFlags: number;
  readonly xattrs: readonly ExtendedAttribute[];
  /** Equal for all names of one inode in a snapshot; undefined where there is only one name. Never for directories. */
  readonly hardLink: Uint8Array | undefined;
}

export interface ExtendedAttribute {
  /** With its namespace: `user.comment`, `security.capability`, `system.posix_acl_access`. */
  readonly name: RawPath;
  readonly value: Uint8Array;
}

export interface FileEntry extends EntryAttributes {
  readonly type: "file";
  readonly sizeBytes: number;
  /** The file's data in order, without what lies in holes. */
  readonly content: readonly ContentBlob[];
  /** Ranges that read as zeros and take no space, in ascending order, apart from each other. */
  readonly holes: readonly Hole[];
}

export interface ContentBlob {
  readonly id: BlobId;
  readonly lengthBytes: number;
}

export interface Hole {
  readonly offset: number;
  readonly lengthBytes: number;
}

export interface DirectoryEntry extends EntryAttributes {
  readonly type: "directory";
  /** The tree with what is in it. */
  readonly tree: BlobId;
}

export interface SymlinkEntry extends EntryAttributes {
  readonly type: "symlink";
  readonly target: RawPath;
}

export interface DeviceEntry extends EntryAttributes {
  readonly type: "char" | "block";
  readonly major: number;
  readonly minor: number;
}

export interface SpecialEntry extends EntryAttributes {
  readonly type: "fifo" | "socket";
}
