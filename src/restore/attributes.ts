/**
 * Puts attributes on what was restored. The order is not free:
 *
 * 1. Owner first, because the kernel takes setuid bits and capabilities away when it changes.
 * 2. Extended attributes before the mode, because without root a mode without write permission forbids them. ACLs among
 *    them: the mode says of them what it said when they were read.
 * 3. The mode and the time. A file that has its time is whole, and a target folder that has its mode: those are the marks
 *    that a later run goes by, so the other one comes first.
 * 4. Immutable and append-only flags last, as nothing can be changed after them.
 */
import { errnoOf } from "../errors.ts";
import type { ExtendedAttribute, TreeEntry } from "../format/tree.ts";
import { removeXattrAt, removeXattrFd, setXattrAt, setXattrFd } from "../platform/extended-attributes.ts";
import { INODE_FLAGS, type FileStat } from "../platform/file-stat.ts";
import { closeFd, OPEN, openAt } from "../platform/open.ts";
import { groupIdOf, userIdOf } from "../platform/owners.ts";
import type { RawPath } from "../platform/raw-path.ts";
import {
  chmodAt,
  chmodFd,
  chownAt,
  chownFd,
  setInodeFlags,
  setTimesAt,
  setTimesFd,
} from "../platform/set-attributes.ts";
import { hasSameTime } from "./existing.ts";

/** Whose restore this is, and so what it may do. Can be posted to workers. */
export interface OwnerPolicy {
  readonly asRoot: boolean;
  readonly uid: number;
  /** All groups that this user may give a file to. */
  readonly gids: readonly number[];
  /** Users and groups by name, where this machine knows the name; else, and otherwise, by number. */
  readonly byName: boolean;
}

export function currentOwnerPolicy(byName: boolean): OwnerPolicy {
  const uid = process.geteuid?.() ?? 0;
  const gids = [process.getegid?.() ?? 0, ...(process.getgroups?.() ?? [])];
  return { asRoot: uid === 0, uid, gids, byName };
}

/**
 * Something that this user or this file system cannot have. It is no failure of the restore: it is counted by kind, and
 * told once at the end.
 */
export type Shortfall =
  "owner" | "mode" | "extended attribute" | "inode flag" | "device" | "FIFO or socket" | "symbolic link" | "hard link";
export type OnShortfall = (kind: Shortfall) => void;

/** An open file or directory, or (with `name`) a name in the directory `fd`. */
export interface Place {
  readonly fd: number;
  readonly name?: RawPath;
}

/** What the target has already. */
export interface Existing {
  readonly stat: FileStat;
  readonly xattrs: readonly ExtendedAttribute[];
}

export interface ApplyOptions {
  readonly policy: OwnerPolicy;
  /** Attributes that are there and may have to go; undefined for what was just made. */
  readonly before: Existing | undefined;
  /** A new entry may have inherited an ACL from its folder. */
  readonly mayHaveInherited: boolean;
  /** Immutable and append-only flags are set by somebody else, later: there are hard links to make. */
  readonly leaveWritable: boolean;
}

const ACCESS_ACL = "system.posix_acl_access" as RawPath;
const DEFAULT_ACL = "system.posix_acl_default" as RawPath;
export const KEEPS_WRITING_OFF = INODE_FLAGS.immutable | INODE_FLAGS.appendOnly;

/** Throws `SystemError` for what should have worked. Symbolic links, devices, FIFOs and sockets only by name. */
export function applyAttributes(place: Place, entry: TreeEntry, options: ApplyOptions, onShortfall: OnShortfall): void {
  const owner = applyOwner(place, entry, options.policy, onShortfall);
  if (options.before !== undefined) removeOthers(place, entry.xattrs, options.before.xattrs, onShortfall);
  else if (options.mayHaveInherited) removeInherited(place, entry);
  for (const xattr of entry.xattrs) applyXattr(place, xattr, onShortfall);
  const flags = options.leaveWritable ? entry.inodeFlags & ~KEEPS_WRITING_OFF : entry.inodeFlags;
  const flagsBefore = options.before?.stat.inodeFlags ?? 0;
  const later = flags & KEEPS_WRITING_OFF;
  if ((flags & ~later) !== (flagsBefore & ~KEEPS_WRITING_OFF)) applyFlags(place, flags & ~later, onShortfall);
  if (entry.type === "directory") applyTime(place, entry);
  if (entry.type !== "symlink") applyMode(place, allowedMode(entry, owner), onShortfall);
  if (entry.type !== "directory") applyTime(place, entry);
  if (later !== 0) applyFlags(place, flags, onShortfall);
}

/** Sets flags that were left out before, if there are any. */
export function forbidWriting(fd: number, inodeFlags: number, onShortfall: OnShortfall): void {
  if ((inodeFlags & KEEPS_WRITING_OFF) !== 0) applyFlags({ fd }, inodeFlags, onShortfall);
}

/** Whether there is nothing to do. */
export function hasAttributes(entry: TreeEntry, existing: Existing, policy: OwnerPolicy): boolean {
  const { stat, xattrs } = existing;
  const { uid, gid } = wantedOwner(entry, policy);
  return (
    stat.uid === uid &&
    stat.gid === gid &&
    (entry.type === "symlink" || stat.mode === entry.mode) &&
    hasSameTime(entry, stat) &&
    stat.inodeFlags === entry.inodeFlags &&
    entry.xattrs.every((wanted) => isAmong(wanted, xattrs)) &&
    xattrs.every(({ name }) => !isRestorable(name) || entry.xattrs.some((wanted) => wanted.name === name))
  );
}

function isAmong(wanted: ExtendedAttribute, xattrs: readonly ExtendedAttribute[]): boolean {
  return xattrs.some(({ name, value }) => name === wanted.name && Buffer.compare(value, wanted.value) === 0);
}

/** Takes immutable and append-only flags away, so that what has them can be changed or removed. */
export function makeChangeable(dirFd: number, name: RawPath, stat: FileStat): void {
  if ((stat.inodeFlags & KEEPS_WRITING_OFF) === 0) return;
  if (stat.type !== "file" && stat.type !== "directory") return;
  const fd = openAt(dirFd, name, OPEN.READ | OPEN.NOFOLLOW | OPEN.NONBLOCK);
  try {
    setInodeFlags(fd, stat.inodeFlags & ~KEEPS_WRITING_OFF);
  } finally {
    closeFd(fd);
  }
}

/** Takes away the ACLs that a new entry got from its folder's default. */
function removeInherited(place: Place, entry: TreeEntry): void {
  if (entry.type === "symlink") return;
  if (!entry.xattrs.some(({ name }) => name === ACCESS_ACL)) removeXattr(place, ACCESS_ACL);
  if (entry.type === "directory" && !entry.xattrs.some(({ name }) => name === DEFAULT_ACL)) {
    removeXattr(place, DEFAULT_ACL);
  }
}

/** For a new folder that is not done yet: what is made in it must not inherit again. */
export function removeDefaultAcl(fd: number): void {
  removeXattrFd(fd, DEFAULT_ACL);
}

export function hasDefaultAcl(xattrs: readonly ExtendedAttribute[]): boolean {
  return xattrs.some(({ name }) => name === DEFAULT_ACL);
}

export function hasAccessAclOf(entry: TreeEntry, xattrs: readonly ExtendedAttribute[]): boolean {
  const acl = entry.xattrs.find(({ name }) => name === ACCESS_ACL);
  return acl !== undefined && isAmong(acl, xattrs);
}

function wantedOwner(entry: TreeEntry, policy: OwnerPolicy): { uid: number; gid: number } {
  const { uid, gid, user, group } = entry;
  if (!policy.byName) return { uid, gid };
  return {
    uid: (user === "" ? undefined : userIdOf(user)) ?? uid,
    gid: (group === "" ? undefined : groupIdOf(group)) ?? gid,
  };
}

const UNCHANGED = 0xffff_ffff;

interface AppliedOwner {
  readonly user: boolean;
  readonly group: boolean;
}

function applyOwner(place: Place, entry: TreeEntry, policy: OwnerPolicy, onShortfall: OnShortfall): AppliedOwner {
  const { uid, gid } = wantedOwner(entry, policy);
  const user = policy.asRoot || uid === policy.uid;
  const group = policy.asRoot || policy.gids.includes(gid);
  try {
    if (user || group) chown(place, policy.asRoot ? uid : UNCHANGED, group ? gid : UNCHANGED);
    if (!user || !group) onShortfall("owner");
    return { user, group };
  } catch (error) {
    // Root in a user namespace may not give files to everybody, and some file systems know no owners.
    if (!isNotPossible(error) && errnoOf(error) !== "EINVAL") throw error;
    onShortfall("owner");
    return { user: false, group: false };
  }
}

/** A program must not run with the rights of somebody who did not make it so. */
function allowedMode(entry: TreeEntry, owner: AppliedOwner): number {
  let { mode } = entry;
  if (!owner.user) mode &= ~0o4000;
  if (!owner.group && entry.type !== "directory") mode &= ~0o2000;
  return mode;
}

function removeOthers(
  place: Place,
  wanted: readonly ExtendedAttribute[],
  existing: readonly ExtendedAttribute[],
  onShortfall: OnShortfall,
): void {
  for (const { name } of existing) {
    if (!isRestorable(name) || wanted.some((xattr) => xattr.name === name)) continue;
    try {
      removeXattr(place, name);
    } catch (error) {
      if (!isNotPossible(error)) throw error;
      onShortfall("extended attribute");
    }
  }
}

/** Others, such as SELinux labels, belong to the system that the file is restored on, unless the snapshot has them. */
function isRestorable(name: RawPath): boolean {
  return name.startsWith("user.") || name.startsWith("trusted.") || isAcl(name) || name === "security.capability";
}

function isAcl(name: RawPath): boolean {
  return name === ACCESS_ACL || name === DEFAULT_ACL;
}

function applyXattr(place: Place, xattr: ExtendedAttribute, onShortfall: OnShortfall): void {
  try {
    if (place.name === undefined) setXattrFd(place.fd, xattr);
    else setXattrAt(place.fd, place.name, xattr);
  } catch (error) {
    if (!isNotPossible(error)) throw error;
    onShortfall("extended attribute");
  }
}

function applyFlags(place: Place, flags: number, onShortfall: OnShortfall): void {
  // Only open files have flags: what is reached by name alone (devices, links) has none.
  if (place.name !== undefined) return;
  try {
    setInodeFlags(place.fd, flags);
  } catch (error) {
    if (!isNotPossible(error)) throw error;
    onShortfall("inode flag");
  }
}

/** This user may not, or this file system cannot. */
export function isNotPossible(error: unknown): boolean {
  const code = errnoOf(error);
  return code === "EPERM" || code === "EACCES" || code === "ENOTSUP" || code === "ENOSYS";
}

function chown(place: Place, uid: number, gid: number): void {
  if (place.name === undefined) chownFd(place.fd, uid, gid);
  else chownAt(place.fd, place.name, uid, gid);
}

function applyMode(place: Place, mode: number, onShortfall: OnShortfall): void {
  try {
    if (place.name === undefined) chmodFd(place.fd, mode);
    else chmodAt(place.fd, place.name, mode);
  } catch (error) {
    // File systems without modes refuse those that they cannot pretend to have.
    if (!isNotPossible(error)) throw error;
    onShortfall("mode");
  }
}

function applyTime(place: Place, entry: TreeEntry): void {
  if (place.name === undefined) setTimesFd(place.fd, entry);
  else setTimesAt(place.fd, place.name, entry);
}

function removeXattr(place: Place, name: RawPath): void {
  if (place.name === undefined) removeXattrFd(place.fd, name);
  else removeXattrAt(place.fd, place.name, name);
}
