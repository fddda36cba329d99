/** Making, replacing and finishing a file in the target; for workers, and for the main thread with large files. */
import { errnoOf } from "../errors.ts";
import type { FileEntry } from "../format/tree.ts";
import { readXattrsFd } from "../platform/extended-attributes.ts";
import type { FileStat } from "../platform/file-stat.ts";
import { renameAt, renameWithoutReplacingAt, unlinkAt } from "../platform/make.ts";
import { closeFd, OPEN, openAt } from "../platform/open.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { chmodAt } from "../platform/set-attributes.ts";
import { statAtIfExists, statFd } from "../platform/stat.ts";
import {
  applyAttributes,
  forbidWriting,
  type Existing,
  hasAttributes,
  makeChangeable,
  type OnShortfall,
  type OwnerPolicy,
} from "./attributes.ts";
import { needsWholeFiles, type Overwrite } from "./existing.ts";
import { removeAt } from "./remove.ts";
import { temporaryName } from "./temporary-name.ts";

/** How files are made in one folder. */
export interface FilePlace {
  readonly folderFd: number;
  readonly entry: FileEntry;
  readonly inheritsAcl: boolean;
  readonly leaveWritable: boolean;
}

export interface FileRules {
  readonly overwrite: Overwrite;
  readonly policy: OwnerPolicy;
  readonly removeFolders: boolean;
}

/** A file that is being written. */
export interface NewFile {
  readonly fd: number;
  /**
   * Sets attributes, gives it its name, and closes it. One with damaged content gets the time 0, so that no later run
   * takes it for whole. Throws `SystemError`; the file is closed then, but there.
   */
  finish(onShortfall: OnShortfall, content?: "damaged"): void;
  /** Closes it and leaves it, half written, where the next run will take it up; otherwise removes it. */
  leave(): void;
  /** Closes and removes it. */
  discard(): void;
}

const NEW_FILE = OPEN.WRITE | OPEN.CREATE | OPEN.EXCLUSIVE | OPEN.NOFOLLOW;

/**
 * A new, empty file that will take the place of `existing`, if anything. It is written under its own name where nothing
 * has that, and under a temporary one where something is to be replaced, or where the next run would not touch a file
 * that a killed one has left half written.
 */
export function createFile(place: FilePlace, existing: FileStat | undefined, rules: FileRules): NewFile {
  const { folderFd, entry } = place;
  if (existing?.type === "directory") {
    removeAt(folderFd, entry.name, existing, { recursive: rules.removeFolders });
    existing = undefined;
  }
  const direct = existing === undefined && !needsWholeFiles(rules.overwrite);
  const name = direct ? entry.name : temporaryName(entry.name);
  const fd = direct ? openAt(folderFd, name, NEW_FILE, 0o600) : openTemporary(folderFd, name);
  return {
    fd,
    finish(onShortfall, content) {
      const finished = content === "damaged" ? { ...entry, mtimeSeconds: 0, mtimeNanoseconds: 0 } : entry;
      // What is immutable cannot be renamed.
      const leaveWritable = place.leaveWritable || !direct;
      try {
        try {
          finishAttributes(fd, { ...place, entry: finished, leaveWritable }, undefined, rules, onShortfall);
        } finally {
          if (!direct) giveName(folderFd, name, entry.name, existing);
        }
        if (!direct && !place.leaveWritable) forbidWriting(fd, entry.inodeFlags, onShortfall);
      } finally {
        closeFd(fd);
      }
    },
    leave() {
      closeFd(fd);
      if (!direct) unlinkAt(folderFd, name);
    },
    discard() {
      closeFd(fd);
      unlinkAt(folderFd, name);
    },
  };
}

function openTemporary(folderFd: number, name: RawPath): number {
  const leftOver = statAtIfExists(folderFd, name);
  if (leftOver !== undefined) removeAt(folderFd, name, leftOver, { recursive: false });
  return openAt(folderFd, name, NEW_FILE, 0o600);
}

function giveName(folderFd: number, temporary: RawPath, name: RawPath, existing: FileStat | undefined): void {
  if (existing !== undefined) {
    makeChangeable(folderFd, name, existing);
    renameAt(folderFd, temporary, folderFd, name);
    return;
  }
  try {
    renameWithoutReplacingAt(folderFd, temporary, folderFd, name);
  } catch (error) {
    // The file system cannot promise that: nothing was there a moment ago.
    if (errnoOf(error) !== "EINVAL") throw error;
    renameAt(folderFd, temporary, folderFd, name);
  }
}

/** Sets what is to be set of a file whose content is right. */
export function finishAttributes(
  fd: number,
  place: FilePlace,
  before: Existing | undefined,
  rules: FileRules,
  onShortfall: OnShortfall,
): void {
  const { entry, inheritsAcl, leaveWritable } = place;
  const options = { policy: rules.policy, before, mayHaveInherited: inheritsAcl, leaveWritable };
  applyAttributes({ fd }, entry, options, onShortfall);
}

/** Whether `existing` may be changed where it is: another name for it may lie where nothing is to be restored. */
export function isItsOwn(existing: FileStat): boolean {
  return existing.type === "file" && existing.links === 1;
}

/** Opens an existing file to look at its content; undefined where this user may not. */
export function openToCompare(folderFd: number, name: RawPath): number | undefined {
  try {
    return openAt(folderFd, name, OPEN.READ | OPEN.NOFOLLOW | OPEN.NONBLOCK);
  } catch (error) {
    if (errnoOf(error) !== "EACCES") throw error;
    return undefined;
  }
}

/** Opens an existing file to change it where it is; undefined where that cannot be done, or would change another file. */
export function openToChange(folderFd: number, name: RawPath, existing: FileStat): number | undefined {
  makeChangeable(folderFd, name, existing);
  const fd = openReadWrite(folderFd, name);
  // Somebody may have put a link to a file of others there since it was looked at.
  if (fd === undefined || isItsOwn(statFd(fd))) return fd;
  closeFd(fd);
  return undefined;
}

function openReadWrite(folderFd: number, name: RawPath): number | undefined {
  const flags = OPEN.READ_WRITE | OPEN.NOFOLLOW | OPEN.NONBLOCK;
  try {
    return openAt(folderFd, name, flags);
  } catch (error) {
    // A program that is running can be replaced, but not changed.
    if (errnoOf(error) === "ETXTBSY") return undefined;
    if (errnoOf(error) !== "EACCES") throw error;
  }
  try {
    chmodAt(folderFd, name, 0o600);
    return openAt(folderFd, name, flags);
  } catch (error) {
    if (errnoOf(error) !== "EACCES" && errnoOf(error) !== "EPERM") throw error;
    return undefined;
  }
}

/**
 * Gives a file whose content is right the attributes it should have. Gives false where it cannot be done in place
 * without changing a file that has other names: then it must be made anew.
 */
export function settleAttributes(
  place: FilePlace,
  fd: number,
  rules: FileRules,
  dryRun: boolean,
  onShortfall: OnShortfall,
): "unchanged" | "touched" | "must be made anew" {
  const { folderFd, entry } = place;
  // What is open, which may be something else than what was found under the name a moment ago.
  const before = { stat: statFd(fd), xattrs: readXattrsFd(fd) };
  if (hasAttributes(entry, before, rules.policy)) {
    // With more names than one, it is right only as one of a group of hard links.
    return isItsOwn(before.stat) || entry.hardLink !== undefined ? "unchanged" : "must be made anew";
  }
  if (!isItsOwn(before.stat)) return "must be made anew";
  if (dryRun) return "touched";
  makeChangeable(folderFd, entry.name, before.stat);
  finishAttributes(fd, place, before, rules, onShortfall);
  return "touched";
}
