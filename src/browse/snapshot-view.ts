import type { RawPath } from "../platform/raw-path.ts";
import type { ContentBlob, DirectoryEntry, FileEntry, TreeEntry } from "../format/tree.ts";

/**
 * PORT: one snapshot, read-only. Restore, `ls`, `dump` and every door (FUSE, NFS, SFTP, WebDAV, rsync) stand on it.
 *
 * Entries are plain data and carry all attributes. Errors: `DamagedError` and `ObjectMissingError` where storage does
 * not hold what the snapshot needs; they name the path.
 */
export interface SnapshotView {
  /** The top directory: stands for `/` of the host. */
  readonly top: DirectoryEntry;

  /** The entry at a path (with or without a slash at the start), or undefined. Follows no links. */
  lookup(path: RawPath): Promise<TreeEntry | undefined>;

  /** Entries of a directory in ascending order of name. Holds no more than one part of a large directory. */
  list(directory: DirectoryEntry): AsyncIterable<TreeEntry>;

  /** The same as they are stored (docs/format.md, "Entry"), for what hands them on; in batches, all views of trees. */
  listEncoded(directory: DirectoryEntry): AsyncIterable<readonly Uint8Array[]>;

  /** The blobs that hold a file's data, in order and in batches; for what works with stored pieces as they are. */
  content(file: FileEntry): AsyncIterable<readonly ContentBlob[]>;

  /** Bytes of a file from `offset`, at most `length`, shorter only at the end; holes read as zeros. */
  read(file: FileEntry, offset: number, length: number): Promise<Uint8Array>;

  /** The whole file in order. Holes are given as ranges, not as zeros. */
  pieces(file: FileEntry): AsyncIterable<FilePiece>;
}

export type FilePiece =
  | { readonly kind: "data"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "hole"; readonly offset: number; readonly lengthBytes: number };
