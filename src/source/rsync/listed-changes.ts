import type { ExtendedAttribute, TreeEntry } from "../../format/tree.ts";
import type { FileStat } from "../../platform/file-stat.ts";
import { ITEM } from "./protocol/items.ts";
import { isValueOf } from "./protocol/xattr.ts";
import type { WireAttribute } from "./protocol/xattr.ts";

/** What a list tells of an entry. */
export interface ListedState {
  readonly stat: FileStat;
  /** Of a symbolic link. */
  readonly target: string | undefined;
  readonly acls: readonly ExtendedAttribute[];
  readonly xattrs: readonly WireAttribute[];
}

/** Whether a list has ACLs and attributes at all. */
export interface ComparedAttributes {
  readonly acls: boolean;
  readonly xattrs: boolean;
}

/**
 * How an entry differs from what stood in its place, as `ITEM` bits; 0 where it does not (generator.c, itemize). `sent`
 * tells what was sent of all.
 */
export function changeFlags(
  { stat, target, acls, xattrs }: ListedState,
  before: TreeEntry | undefined,
  sent: ComparedAttributes,
): number {
  const isFile = stat.type === "file";
  if (before?.type !== stat.type) {
    if (isFile) return ITEM.isNew;
    return ITEM.isNew | ITEM.localChange | (stat.type === "symlink" ? ITEM.reportChange : 0);
  }
  let flags = 0;
  if (before.type === "file" && before.sizeBytes !== stat.sizeBytes) flags |= ITEM.reportSize;
  if (isOtherThing(before, stat, target)) flags |= ITEM.localChange | ITEM.reportChange;
  if (before.mtimeSeconds !== stat.mtimeSeconds || before.mtimeNanoseconds !== stat.mtimeNanoseconds)
    flags |= ITEM.reportTime;
  if (stat.type !== "symlink" && before.mode !== stat.mode) flags |= ITEM.reportPermissions;
  if (before.uid !== stat.uid) flags |= ITEM.reportOwner;
  if (before.gid !== stat.gid) flags |= ITEM.reportGroup;
  const [aclsBefore, xattrsBefore] = [before.xattrs.filter(isAcl), before.xattrs.filter((each) => !isAcl(each))];
  if (sent.acls && !isEqualSet(aclsBefore, acls, (one, other) => isEqual(one.value, other.value)))
    flags |= ITEM.reportAcl;
  if (sent.xattrs && !isEqualSet(xattrsBefore, xattrs, (one, other) => isValueOf(one.value, other)))
    flags |= ITEM.reportXattrs;
  return flags;
}

/** Whether rsync would take the content to be another one. */
export function isContentChanged({ sizeBytes, mtimeSeconds, mtimeNanoseconds }: FileStat, before?: TreeEntry): boolean {
  return (
    before?.type !== "file" ||
    before.sizeBytes !== sizeBytes ||
    before.mtimeSeconds !== mtimeSeconds ||
    before.mtimeNanoseconds !== mtimeNanoseconds
  );
}

/** What cannot be changed but by making it anew. */
function isOtherThing(before: TreeEntry, stat: FileStat, target: string | undefined): boolean {
  if (before.type === "symlink") return before.target !== target;
  if (before.type !== "char" && before.type !== "block") return false;
  return before.major !== stat.rdevMajor || before.minor !== stat.rdevMinor;
}

const isAcl = ({ name }: ExtendedAttribute): boolean => name.startsWith("system.posix_acl_");
const isEqual = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0;

function isEqualSet<Now extends { readonly name: string }>(
  before: readonly ExtendedAttribute[],
  now: readonly Now[],
  isSame: (one: ExtendedAttribute, other: Now) => boolean,
): boolean {
  if (before.length !== now.length) return false;
  const byName = new Map(before.map((each) => [each.name as string, each]));
  return now.every((each) => {
    const one = byName.get(each.name);
    return one !== undefined && isSame(one, each);
  });
}
