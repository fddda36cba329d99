import { errnoOf } from "../errors.ts";
import type { TreeEntry } from "../format/tree.ts";
import type { FileStat } from "../platform/file-stat.ts";
import { linkAt } from "../platform/make.ts";
import { closeFd, OPEN, openBeneath } from "../platform/open.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { setInodeFlags } from "../platform/set-attributes.ts";
import { statAt, statAtIfExists } from "../platform/stat.ts";
import { isNotPossible, KEEPS_WRITING_OFF, makeChangeable, type Shortfall } from "./attributes.ts";
import { mayOverwrite } from "./existing.ts";
import type { Folder, Folders } from "./folders.ts";
import type { OtherRules } from "./other-entries.ts";
import { removeAt } from "./remove.ts";
import { type Outcome, OUTCOME } from "./worker/messages.ts";

/** A name of a file that has several. */
export interface LinkName {
  readonly folder: Folder;
  readonly entry: TreeEntry;
  readonly path: RawPath;
  /** Called, at once or later, if it is to be restored itself; `settled` is to be told what became of it. */
  readonly restore: (settled: (outcome: Outcome) => void) => void;
  /** Called otherwise, when it is linked, or with what was in the way. */
  readonly linked: (outcome: Outcome, error?: unknown) => void;
}

/**
 * Groups of hard links. The first name that comes is restored as a file of its own; the others are linked to it, once
 * it is done. Where it cannot be had, or is not the snapshot's because it was not to be overwritten, the next name takes
 * its place.
 */
export interface HardLinks {
  add(name: LinkName): void;
  /** Makes those immutable that are to be, as nothing more will be linked to them. */
  finish(onProblem: (path: RawPath, error: unknown) => void): void;
}

interface Group {
  /** Where it is restored, or being restored. */
  path: RawPath;
  state: "under way" | "done";
  waiting: LinkName[];
}

export function createHardLinks(
  rootFd: number,
  folders: Folders,
  rules: OtherRules,
  onShortfall: (path: RawPath, kind: Shortfall) => void,
): HardLinks {
  const groups = new Map<string, Group>();
  // Inodes found in the target that a group has taken over; another group must not take them too.
  const takenOver = new Map<string, string>();
  const madeImmutableLater: { path: RawPath; inodeFlags: number }[] = [];

  function add(name: LinkName): void {
    const key = Buffer.from(name.entry.hardLink as Uint8Array).latin1Slice();
    const group = groups.get(key);
    if (group === undefined) {
      const made: Group = { path: name.path, state: "under way", waiting: [] };
      groups.set(key, made);
      name.restore((outcome) => settle(key, made, name, outcome));
    } else if (group.state === "under way") group.waiting.push(name);
    else linkTo(key, group, name);
  }

  function settle(key: string, group: Group, name: LinkName, outcome: Outcome): void {
    if (outcome === OUTCOME.unchanged && !rules.dryRun && isTakenByAnother(key, name)) {
      name.restore((again) => settle(key, group, name, again));
      return;
    }
    const { waiting } = group;
    group.waiting = [];
    if (outcome === OUTCOME.failed || outcome === OUTCOME.skipped) groups.delete(key);
    else {
      group.state = "done";
      const { inodeFlags } = name.entry;
      if ((inodeFlags & KEEPS_WRITING_OFF) !== 0) madeImmutableLater.push({ path: name.path, inodeFlags });
    }
    for (const other of waiting) add(other);
  }

  /** Two groups that are one inode in the target have to part: then this name is removed, to be restored anew. */
  function isTakenByAnother(key: string, { folder, entry }: LinkName): boolean {
    let folderFd: number;
    try {
      folderFd = folders.pin(folder);
    } catch {
      // Gone since it was found: then it is nobody's.
      return false;
    }
    try {
      const stat = statAtIfExists(folderFd, entry.name);
      if (stat === undefined) return false;
      const takenBy = takenOver.get(inodeOf(stat)) ?? key;
      takenOver.set(inodeOf(stat), takenBy);
      if (takenBy === key) return false;
      removeAt(folderFd, entry.name, stat, { recursive: false });
      return true;
    } finally {
      folders.unpin(folder);
    }
  }

  function linkTo(key: string, group: Group, name: LinkName): void {
    let outcome: Outcome;
    try {
      outcome = rules.dryRun ? OUTCOME.restored : link(group, name);
    } catch (error) {
      const code = errnoOf(error);
      // Too many links already, another file system in between, or one that has none: then it is a file of its own.
      if (code !== "EMLINK" && code !== "EXDEV" && !isNotPossible(error)) return name.linked(OUTCOME.failed, error);
      onShortfall(name.path, "hard link");
      groups.delete(key);
      return add(name);
    }
    name.linked(outcome);
  }

  function link(group: Group, { folder, entry }: LinkName): Outcome {
    const [sourceFolder, sourceName] = splitPath(group.path);
    const sourceFd = openBeneath(rootFd, sourceFolder, OPEN.PATH | OPEN.DIRECTORY);
    try {
      const folderFd = folders.pin(folder);
      try {
        const existing = folder.isNew ? undefined : statAtIfExists(folderFd, entry.name);
        if (existing !== undefined) {
          if (!mayOverwrite(rules.overwrite, entry, existing)) return OUTCOME.skipped;
          if (inodeOf(existing) === inodeOf(statAt(sourceFd, sourceName))) return OUTCOME.unchanged;
          removeAt(folderFd, entry.name, existing, { recursive: rules.removeFolders });
        }
        if ((entry.inodeFlags & KEEPS_WRITING_OFF) !== 0) {
          makeChangeable(sourceFd, sourceName, statAt(sourceFd, sourceName));
        }
        linkAt(sourceFd, sourceName, folderFd, entry.name);
        return existing === undefined ? OUTCOME.restored : OUTCOME.replaced;
      } finally {
        folders.unpin(folder);
      }
    } finally {
      closeFd(sourceFd);
    }
  }

  return {
    add,
    finish(onProblem) {
      for (const { path, inodeFlags } of madeImmutableLater) {
        try {
          const fd = openBeneath(rootFd, path, OPEN.READ | OPEN.NONBLOCK);
          try {
            setInodeFlags(fd, inodeFlags);
          } finally {
            closeFd(fd);
          }
        } catch (error) {
          if (isNotPossible(error)) onShortfall(path, "inode flag");
          else onProblem(path, error);
        }
      }
    },
  };
}

function inodeOf(stat: FileStat): string {
  return `${stat.deviceMajor}:${stat.deviceMinor}:${stat.inodeHigh}:${stat.inodeLow}`;
}

function splitPath(path: RawPath): [folder: RawPath, name: RawPath] {
  const slash = path.lastIndexOf("/");
  return [path.slice(0, Math.max(slash, 0)) as RawPath, path.slice(slash + 1) as RawPath];
}
