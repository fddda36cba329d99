/**
 * Folders of the target while things are restored into them.
 *
 * Everything that is written is reached through a descriptor of its folder, which was opened below the target without
 * following any link; so a link that somebody puts in the way, before or meanwhile, leads nowhere. A folder is made when
 * the first thing in it is, and gets its attributes when the last thing in it is done.
 */
import { HoldfastError } from "../errors.ts";
import type { DirectoryEntry } from "../format/tree.ts";
import { readXattrsFd } from "../platform/extended-attributes.ts";
import { makeDirectoryAt } from "../platform/make.ts";
import { closeFd, OPEN, openBeneath } from "../platform/open.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { setInodeFlags } from "../platform/set-attributes.ts";
import { statAtIfExists, statFd } from "../platform/stat.ts";
import {
  applyAttributes,
  type Existing,
  hasAttributes,
  hasDefaultAcl,
  KEEPS_WRITING_OFF,
  type OnShortfall,
  type OwnerPolicy,
  removeDefaultAcl,
} from "./attributes.ts";
import { mayOverwrite, type Overwrite } from "./existing.ts";
import { openFolderAt } from "./open-folder.ts";
import { removeAt } from "./remove.ts";

export interface Folder {
  /** Below the target; "" for the target itself. */
  readonly path: RawPath;
  /** Undefined for the target itself where its attributes are not the snapshot's. */
  readonly entry: DirectoryEntry | undefined;
  readonly parent: Folder | undefined;
  state: "not made" | "open" | "failed" | "finished";
  /** Made by this restore: nothing is in it but what this restore put there. */
  isNew: boolean;
  /** What is made in it inherits an ACL. */
  inheritsAcl: boolean;
  /** As it was found. */
  before: Existing | undefined;
  /** Things in it that are not done, and the listing of it. */
  pending: number;
  /** What is to be done when nothing is pending, before it gets its attributes. */
  lastStep: (() => void) | undefined;
  /** -1 while closed. */
  fd: number;
  /** Who needs the descriptor to stay open. */
  pins: number;
}

export interface FolderRules {
  readonly overwrite: Overwrite;
  readonly policy: OwnerPolicy;
  readonly dryRun: boolean;
  /** Called with what failed; the restore goes on. */
  readonly onProblem: (path: RawPath, error: unknown) => void;
  readonly onShortfall: (path: RawPath, kind: Parameters<OnShortfall>[0]) => void;
  readonly onFinished: (folder: Folder) => void;
}

export interface Folders {
  readonly root: Folder;
  /** A folder in another, not made yet. Hold it with `enter` and let go of it with `leave`. */
  child(parent: Folder, path: RawPath, entry: DirectoryEntry): Folder;
  /** Makes it, and those above it. False where that failed, now or before; it was told then. */
  make(folder: Folder): boolean;
  /** One thing more is to be done in it. */
  enter(folder: Folder): void;
  /** One thing is done; after the last it gets its attributes. */
  leave(folder: Folder): void;
  /** Its descriptor, valid until `unpin`. In a dry run -1 where it is not there. */
  pin(folder: Folder): number;
  unpin(folder: Folder): void;
  openCount(): number;
  close(): void;
}

/** Descriptors of folders that nobody needs just now are kept up to so many. */
const KEPT_OPEN = 64;

/** `rootFd` stays the caller's. `rootEntry`: where the target itself gets attributes at the end. */
export function createFolders(
  rootFd: number,
  rootIsNew: boolean,
  rootEntry: DirectoryEntry | undefined,
  rules: FolderRules,
): Folders {
  const open = new Set<Folder>();
  // Those of them that nobody has pinned, the one that was used last at the end.
  const unused = new Set<Folder>();
  const root = newFolder(undefined, "" as RawPath, rootEntry);
  root.fd = rootFd;
  root.state = "open";
  root.isNew = rootIsNew;
  root.pins = 1;
  if (rootFd >= 0) describe(root, rootFd);

  function describe(folder: Folder, fd: number): void {
    const xattrs = readXattrsFd(fd);
    if (!folder.isNew || folder === root) folder.before = { stat: statFd(fd), xattrs };
    folder.inheritsAcl = hasDefaultAcl(xattrs);
  }

  function make(folder: Folder): boolean {
    if (folder.state === "not made") {
      const parent = folder.parent as Folder;
      if (!make(parent)) folder.state = "failed";
      else {
        try {
          makeIn(parent, folder);
          folder.state = "open";
          enter(parent);
        } catch (error) {
          folder.state = "failed";
          rules.onProblem(folder.path, error);
        }
      }
    }
    return folder.state === "open";
  }

  function makeIn(parent: Folder, folder: Folder): void {
    const entry = folder.entry as DirectoryEntry;
    const parentFd = pin(parent);
    try {
      const existing = parent.isNew ? undefined : statAtIfExists(parentFd, entry.name);
      if (existing !== undefined && existing.type !== "directory") {
        if (!mayOverwrite(rules.overwrite, entry, existing)) {
          throw new HoldfastError(`a ${existing.type} is in the way of this folder, and is not to be overwritten`);
        }
        if (!rules.dryRun) removeAt(parentFd, entry.name, existing, { recursive: false });
      }
      folder.isNew = existing?.type !== "directory";
      if (rules.dryRun && folder.isNew) return;
      if (folder.isNew) makeDirectoryAt(parentFd, entry.name, 0o700);
      const fd = rules.dryRun ? reopen(folder) : openFolderAt(parentFd, entry.name);
      folder.fd = fd;
      open.add(folder);
      unused.add(folder);
      prepare(parent, folder, fd);
      closeUnused();
    } finally {
      unpin(parent);
    }
  }

  function prepare(parent: Folder, folder: Folder, fd: number): void {
    if (!folder.isNew) {
      describe(folder, fd);
      const { inodeFlags } = (folder.before as Existing).stat;
      if ((inodeFlags & KEEPS_WRITING_OFF) !== 0 && !rules.dryRun) {
        setInodeFlags(fd, inodeFlags & ~KEEPS_WRITING_OFF);
      }
    } else if (parent.inheritsAcl) removeDefaultAcl(fd);
  }

  function reopen(folder: Folder): number {
    return openBeneath(rootFd, folder.path, OPEN.READ | OPEN.DIRECTORY);
  }

  function enter(folder: Folder): void {
    folder.pending++;
  }

  function leave(folder: Folder): void {
    if (--folder.pending > 0 || folder.state !== "open") return;
    try {
      folder.lastStep?.();
      finish(folder);
    } catch (error) {
      rules.onProblem(folder.path, error);
    }
    folder.state = "finished";
    if (folder.parent !== undefined) leave(folder.parent);
  }

  function finish(folder: Folder): void {
    const { entry } = folder;
    if (entry === undefined || rules.dryRun) return rules.onFinished(folder);
    const fd = pin(folder);
    try {
      const before = folder.before && { stat: statFd(fd), xattrs: folder.before.xattrs };
      if (before === undefined || !hasAttributes(entry, before, rules.policy)) {
        const mayHaveInherited = folder.parent?.inheritsAcl === true;
        const options = { policy: rules.policy, before, mayHaveInherited, leaveWritable: false };
        applyAttributes({ fd }, entry, options, (kind) => rules.onShortfall(folder.path, kind));
      }
    } finally {
      unpin(folder);
      if (folder.pins === 0) closeFolder(folder);
    }
    rules.onFinished(folder);
  }

  function pin(folder: Folder): number {
    if (folder.fd < 0 && !(rules.dryRun && folder.isNew)) {
      folder.fd = reopen(folder);
      open.add(folder);
    }
    unused.delete(folder);
    folder.pins++;
    return folder.fd;
  }

  function unpin(folder: Folder): void {
    folder.pins--;
    if (folder.pins > 0 || !open.has(folder)) return;
    unused.add(folder);
    closeUnused();
  }

  function closeUnused(): void {
    for (const folder of unused) {
      if (unused.size <= KEPT_OPEN) return;
      closeFolder(folder);
    }
  }

  function closeFolder(folder: Folder): void {
    if (!open.delete(folder)) return;
    unused.delete(folder);
    closeFd(folder.fd);
    folder.fd = -1;
  }

  return {
    root,
    child: newFolder,
    make,
    enter,
    leave,
    pin,
    unpin,
    openCount: () => open.size,
    close() {
      for (const folder of Array.from(open)) closeFolder(folder);
    },
  };
}

function newFolder(parent: Folder | undefined, path: RawPath, entry: DirectoryEntry | undefined): Folder {
  return {
    path,
    entry,
    parent,
    state: "not made",
    isNew: false,
    inheritsAcl: false,
    before: undefined,
    pending: 0,
    lastStep: undefined,
    fd: -1,
    pins: 0,
  };
}
