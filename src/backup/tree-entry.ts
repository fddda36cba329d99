import type { ContentBlob, ExtendedAttribute, FileEntry, Hole, TreeEntry } from "../format/tree.ts";
import type { FileStat } from "../platform/file-stat.ts";
import { groupNameOf, userNameOf } from "../platform/owners.ts";
import type { OwnerNames } from "../source/source.ts";
import type { RawPath } from "../platform/raw-path.ts";

/** Everything that a tree keeps of an entry, from where it was found out. */
export interface EntryParts {
  readonly name: RawPath;
  readonly stat: FileStat;
  readonly xattrs: readonly ExtendedAttribute[];
  /** Of a symbolic link. */
  readonly target: RawPath | undefined;
  readonly hardLink: Uint8Array | undefined;
  /** Of a file. */
  readonly content: readonly ContentBlob[];
  /** See `FileEntry`. */
  readonly listed: boolean;
  readonly holes: readonly Hole[];
}

const NO_TREE_YET = new Uint8Array(32);

const LOCAL_OWNERS: OwnerNames = { user: userNameOf, group: groupNameOf };

/** The entry for the tree. A directory's tree is zeros until it is complete. */
export function treeEntryOf(parts: EntryParts, owners: OwnerNames = LOCAL_OWNERS): TreeEntry {
  const { stat } = parts;
  // Nearly all entries are files: nothing is made for them but the entry.
  if (stat.type === "file") return fileEntryOf(parts, owners);
  const attributes = {
    name: parts.name,
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    user: owners.user(stat.uid),
    group: owners.group(stat.gid),
    mtimeSeconds: stat.mtimeSeconds,
    mtimeNanoseconds: stat.mtimeNanoseconds,
    inodeFlags: stat.inodeFlags,
    xattrs: parts.xattrs,
    hardLink: parts.hardLink,
  };
  switch (stat.type) {
    case "directory":
      return { ...attributes, type: "directory", tree: NO_TREE_YET };
    case "symlink":
      return { ...attributes, type: "symlink", target: parts.target ?? ("" as RawPath) };
    case "char":
    case "block":
      return { ...attributes, type: stat.type, major: stat.rdevMajor, minor: stat.rdevMinor };
    case "fifo":
    case "socket":
      return { ...attributes, type: stat.type };
  }
}

function fileEntryOf(parts: EntryParts, owners: OwnerNames): FileEntry {
  const { name, stat, xattrs, hardLink, content, listed, holes } = parts;
  return {
    type: "file",
    name,
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    user: owners.user(stat.uid),
    group: owners.group(stat.gid),
    mtimeSeconds: stat.mtimeSeconds,
    mtimeNanoseconds: stat.mtimeNanoseconds,
    inodeFlags: stat.inodeFlags,
    xattrs,
    hardLink,
    sizeBytes: stat.sizeBytes,
    content,
    listed,
    holes,
  };
}
