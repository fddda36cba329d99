import { errnoOf } from "../../errors.ts";
import { closeFd, OPEN, openAt, openBeneath } from "../../platform/open.ts";
import type { FileStat } from "../../platform/file-stat.ts";
import { listNames } from "../../platform/list-directory.ts";
import { cursorOf, mergeCursors, type NameCursor } from "../../platform/name-cursor.ts";
import { joinRaw, type RawPath } from "../../platform/raw-path.ts";
import { statAt, statFd } from "../../platform/stat.ts";
import { ERRNO, SystemError } from "../../platform/system-error.ts";
import type { ReportProblem, SourceEntry } from "../source.ts";
import { DURING_FIND } from "../vanished.ts";
import { type ExcludeTag, tagsIn } from "./exclude-tags.ts";
import { type IsExcluded, matchableText } from "./exclude-patterns.ts";
import type { WantedName } from "./roots.ts";

export interface WalkOptions {
  /** Stands for `/`. */
  readonly topFd: number;
  readonly wanted: WantedName;
  readonly isExcluded: IsExcluded | undefined;
  readonly excludeTags: readonly ExcludeTag[];
  readonly excludeLargerThanBytes: number;
  /** Physical paths without a slash at the start. */
  readonly excludeFolders: ReadonlySet<RawPath>;
  readonly oneFileSystem: boolean;
  readonly onProblem: ReportProblem;
}

type Device = Pick<FileStat, "deviceMajor" | "deviceMinor">;

/** What is known of a directory by its name. */
interface Place {
  /** In the snapshot. */
  readonly path: RawPath;
  readonly name: RawPath;
  /** Where it lies; differs from `path` only below links on the way to a root. */
  readonly physical: RawPath;
  readonly depth: number;
  /** The path as patterns see it, with a slash at the end; empty where there are no patterns. */
  readonly text: string;
}

/** A directory that the walk is in. */
interface Folder extends Omit<Place, "name"> {
  /** `NO_FD` while given up, because too many are open. */
  fd: number;
  readonly stat: FileStat;
  /** What is in it, or of that what is wanted. */
  readonly listing: Listing;
  readonly wanted: WantedName | undefined;
  /** Whether more than the wanted names is saved. */
  readonly whole: boolean;
  /** The file system that is not to be left. */
  readonly device: Device;
}

interface Listing {
  readonly names: NameCursor;
  close(): void;
}

const BATCH_ENTRIES = 512;

/** Directories open at a time. Those further up are opened again on the way back. */
const MAX_OPEN_FOLDERS = 64;

/**
 * All wanted entries in sorted depth-first order. Each name is looked up in the directory that was listed, by its
 * descriptor and without following links, so nothing that is moved about meanwhile leads the walk astray. Returns how
 * many of the wanted places were reached and not excluded.
 */
export function* walk(options: WalkOptions): Generator<readonly SourceEntry[], number> {
  const { topFd, isExcluded, excludeTags, excludeLargerThanBytes, excludeFolders, oneFileSystem, onProblem } = options;
  const effectiveUid = process.geteuid?.() ?? 0;
  const tagNames = excludeTags.map(({ name }) => name);
  const stack: Folder[] = [];
  let batch: SourceEntry[] = [];
  let reached = 0;

  try {
    enterTop();
    for (let folder = stack.at(-1); folder !== undefined; folder = stack.at(-1)) {
      const name = folder.listing.names.next;
      if (name === undefined) leave();
      else {
        folder.listing.names.advance();
        visit(folder, name);
      }
      if (batch.length >= BATCH_ENTRIES) {
        yield batch;
        batch = [];
      }
    }
    if (batch.length > 0) yield batch;
    return reached;
  } finally {
    for (const folder of stack) giveUp(folder);
  }

  function enterTop(): void {
    const { wanted } = options;
    const fd = openAt(topFd, "." as RawPath, (wanted.whole ? OPEN.READ : OPEN.PATH) | OPEN.DIRECTORY);
    const stat = statFd(fd);
    if (wanted.whole) reached++;
    const top = { path: "" as RawPath, name: "" as RawPath, physical: "" as RawPath, depth: 0, text: "" };
    enter(top, fd, stat, wanted, wanted.whole, stat);
  }

  function visit(folder: Folder, name: RawPath): void {
    const wanted = folder.wanted?.children.get(name);
    const path = folder.path === "" ? name : (`${folder.path}/${name}` as RawPath);
    const stat = lookUp(folder, name, path, wanted);
    if (stat === undefined) return;
    if (stat.type === "directory") {
      visitDirectory(folder, name, path, stat, wanted);
      return;
    }
    if (stat.type === "file" && stat.sizeBytes > excludeLargerThanBytes) return;
    if (isExcluded?.(folder.text + matchableText(name))) return;
    batch.push({ path, name, depth: folder.depth + 1, stat });
    if (wanted === undefined) return;
    if (wanted.whole) reached++;
    reportMissingBelow(path, wanted, new SystemError(ERRNO.ENOTDIR, "open", absolute(path)));
  }

  function lookUp(folder: Folder, name: RawPath, path: RawPath, wanted: WantedName | undefined): FileStat | undefined {
    try {
      return wanted?.leadsTo === undefined ? statAt(folder.fd, name) : statBeneath(wanted.leadsTo);
    } catch (error) {
      report(path, wanted, "stat", error);
      return undefined;
    }
  }

  function statBeneath(physical: RawPath): FileStat {
    const fd = openBeneath(topFd, physical, OPEN.PATH | OPEN.NOFOLLOW);
    try {
      return statFd(fd);
    } finally {
      closeFd(fd);
    }
  }

  function visitDirectory(
    folder: Folder,
    name: RawPath,
    path: RawPath,
    stat: FileStat,
    wanted: WantedName | undefined,
  ): void {
    const isRoot = wanted?.whole === true;
    const whole = folder.whole || isRoot;
    const text = isExcluded === undefined ? "" : `${folder.text}${matchableText(name)}/`;
    // Folders that are only on the way to what is wanted are not asked about; what is wanted is, with all above it.
    if (whole && isExcluded?.(text)) return;
    const physical = wanted?.leadsTo ?? joinRaw(folder.physical, name);
    if (excludeFolders.has(physical)) return;
    const place = { path, name, physical, depth: folder.depth + 1, text };
    const elsewhere = oneFileSystem && !isRoot && !isSameDevice(stat, folder.device);
    if (elsewhere && wanted === undefined) {
      batch.push({ path, name, depth: place.depth, stat });
      return;
    }
    const fd = openFolder(folder, place, stat, wanted, whole && !elsewhere);
    if (fd === undefined) return;
    if (isRoot) reached++;
    // The name may stand for another directory by now than when it was looked up. What is listed is what is described.
    const opened = statFd(fd);
    // Looking into a directory may also have mounted something on it.
    const left = oneFileSystem && !isRoot && !isSameDevice(opened, folder.device);
    enter(place, fd, opened, wanted, whole && !left, isRoot ? opened : folder.device);
  }

  /** Undefined where it cannot be opened: then that is reported, and the directory itself is an entry if it is there. */
  function openFolder(
    folder: Folder,
    place: Place,
    stat: FileStat,
    wanted: WantedName | undefined,
    toList: boolean,
  ): number | undefined {
    const owned = effectiveUid === 0 || stat.uid === effectiveUid;
    let flags = OPEN.DIRECTORY | OPEN.NOFOLLOW | (toList ? OPEN.READ | (owned ? OPEN.NOATIME : 0) : OPEN.PATH);
    for (;;) {
      try {
        if (wanted?.leadsTo !== undefined) return openBeneath(topFd, wanted.leadsTo, flags);
        return openAt(folder.fd, place.name, flags);
      } catch (error) {
        const code = errnoOf(error);
        if (code === "EPERM" && (flags & OPEN.NOATIME) !== 0) {
          flags &= ~OPEN.NOATIME;
          continue;
        }
        // It can still be gone through to what is wanted below it.
        if (code === "EACCES" && wanted !== undefined && wanted.children.size > 0 && (flags & OPEN.PATH) === 0) {
          report(place.path, undefined, "list", error);
          flags = OPEN.DIRECTORY | OPEN.NOFOLLOW | OPEN.PATH;
          continue;
        }
        const isStillThere = code !== "ENOENT" && code !== "ENOTDIR" && code !== "ELOOP";
        if (isStillThere) batch.push({ path: place.path, name: place.name, depth: place.depth, stat });
        report(place.path, isStillThere ? undefined : wanted, "list", error);
        if (isStillThere && wanted !== undefined) {
          if (wanted.whole) reached++;
          reportMissingBelow(place.path, wanted, withPath(error, place.path));
        }
        return undefined;
      }
    }
  }

  /** Adds the entry, and goes on with what is in it. */
  function enter(
    place: Place,
    fd: number,
    stat: FileStat,
    wanted: WantedName | undefined,
    whole: boolean,
    device: Device,
  ): void {
    batch.push({ path: place.path, name: place.name, depth: place.depth, stat });
    const listing = namesToVisit(place, fd, wanted, whole);
    if (listing.names.next === undefined) {
      closeFd(fd);
      return;
    }
    const { path, physical, depth, text } = place;
    stack.push({ fd, path, physical, depth, text, stat, listing, wanted, whole, device });
    if (stack.length > MAX_OPEN_FOLDERS) giveUpFd(stack[stack.length - 1 - MAX_OPEN_FOLDERS]);
  }

  function namesToVisit(place: Place, fd: number, wanted: WantedName | undefined, whole: boolean): Listing {
    const alsoWanted = wanted === undefined ? [] : [...wanted.children.keys()].sort();
    const nothingElse = { names: cursorOf(alsoWanted), close: () => undefined };
    if (!whole) return nothingElse;
    try {
      const { names, found, close } = listNames(fd, tagNames);
      const tags = tagsIn(fd, found, excludeTags);
      const listed = tags.length > 0 ? cursorOf(tags) : names;
      // Those that are wanted by name are looked for even if they are not there, so that this is noticed.
      return { names: alsoWanted.length === 0 ? listed : mergeCursors([listed, cursorOf(alsoWanted)]), close };
    } catch (error) {
      report(place.path, undefined, "list", error);
      return nothingElse;
    }
  }

  function leave(): void {
    const left = stack.pop();
    const above = stack.at(-1);
    if (above !== undefined && above.fd === NO_FD) above.fd = reopen(above, left?.fd ?? NO_FD);
    if (left !== undefined) giveUp(left);
  }

  function reopen(folder: Folder, fdBelow: number): number {
    // Usually it is one step up. The long way round is for when what lies below was moved, or came through a link.
    const above = fdBelow === NO_FD ? undefined : tryOpen(folder, () => openAt(fdBelow, ".." as RawPath, REOPEN_FLAGS));
    const again = above ?? tryOpen(folder, () => openBeneath(topFd, folder.physical, REOPEN_FLAGS));
    if (again !== undefined) return again;
    const { names } = folder.listing;
    if (names.next !== undefined) {
      report(folder.path, undefined, "list", new SystemError(ERRNO.ENOENT, "open", absolute(folder.path)));
      while (names.next !== undefined) names.advance();
    }
    return NO_FD;
  }

  function report(path: RawPath, wanted: WantedName | undefined, during: string, error: unknown): void {
    const told = withPath(error, path);
    if (wanted === undefined) onProblem({ path, during, error: told });
    else reportMissing(path, wanted, told);
  }

  function reportMissing(path: RawPath, wanted: WantedName, error: unknown): void {
    if (wanted.whole) onProblem({ path, during: DURING_FIND, error });
    reportMissingBelow(path, wanted, error);
  }

  function reportMissingBelow(path: RawPath, wanted: WantedName, error: unknown): void {
    for (const [name, child] of wanted.children) reportMissing(joinRaw(path, name), child, error);
  }
}

const NO_FD = -1;
const REOPEN_FLAGS = OPEN.PATH | OPEN.DIRECTORY;

/** A descriptor, if it is still the directory that was listed. */
function tryOpen(folder: Folder, open: () => number): number | undefined {
  let fd: number;
  try {
    fd = open();
  } catch {
    return undefined;
  }
  const now = statFd(fd);
  const { stat } = folder;
  if (now.inodeLow === stat.inodeLow && now.inodeHigh === stat.inodeHigh && isSameDevice(now, stat)) return fd;
  closeFd(fd);
  return undefined;
}

function giveUpFd(folder: Folder): void {
  if (folder.fd !== NO_FD) closeFd(folder.fd);
  folder.fd = NO_FD;
}

function giveUp(folder: Folder): void {
  giveUpFd(folder);
  folder.listing.close();
}

function isSameDevice(one: Device, other: Device): boolean {
  return one.deviceMajor === other.deviceMajor && one.deviceMinor === other.deviceMinor;
}

function absolute(path: RawPath): RawPath {
  return `/${path}` as RawPath;
}

/** Calls that work in an open directory only know the last name. */
function withPath(error: unknown, path: RawPath): unknown {
  return error instanceof SystemError ? new SystemError(error.errno, error.syscall, absolute(path)) : error;
}
