/** Restores what has no content: symbolic links, devices, FIFOs and sockets. */
import type { FileEntry, DirectoryEntry, TreeEntry } from "../format/tree.ts";
import { readXattrsAt } from "../platform/extended-attributes.ts";
import type { FileStat } from "../platform/file-stat.ts";
import { makeNodeAt, makeSymlinkAt, renameAt, unlinkAt } from "../platform/make.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { readLinkAt } from "../platform/read-link.ts";
import { statAtIfExists } from "../platform/stat.ts";
import {
  applyAttributes,
  hasAttributes,
  isNotPossible,
  type OnShortfall,
  type OwnerPolicy,
  type Shortfall,
} from "./attributes.ts";
import { mayOverwrite, needsWholeFiles, type Overwrite } from "./existing.ts";
import type { Folder } from "./folders.ts";
import { removeAt } from "./remove.ts";
import { temporaryName } from "./temporary-name.ts";
import { type Outcome, OUTCOME } from "./worker/messages.ts";

export type OtherEntry = Exclude<TreeEntry, FileEntry | DirectoryEntry>;

export interface OtherRules {
  readonly overwrite: Overwrite;
  readonly policy: OwnerPolicy;
  readonly removeFolders: boolean;
  readonly dryRun: boolean;
}

/** Throws `SystemError`. What this user may not make is a shortfall, and skipped. */
export function restoreOther(
  folder: Folder,
  folderFd: number,
  entry: OtherEntry,
  rules: OtherRules,
  onShortfall: OnShortfall,
): Outcome {
  const existing = folder.isNew ? undefined : statAtIfExists(folderFd, entry.name);
  if (existing !== undefined) {
    if (!mayOverwrite(rules.overwrite, entry, existing)) return OUTCOME.skipped;
    if (isSame(folderFd, entry, existing)) {
      const before = { stat: existing, xattrs: readXattrsAt(folderFd, entry.name) };
      if (hasAttributes(entry, before, rules.policy)) return OUTCOME.unchanged;
      if (existing.links === 1) {
        if (!rules.dryRun) apply(folder, folderFd, entry.name, entry, before, rules, onShortfall);
        return OUTCOME.touched;
      }
    }
  }
  const outcome = existing === undefined ? OUTCOME.restored : OUTCOME.replaced;
  if (rules.dryRun) return outcome;
  return makeNew(folder, folderFd, entry, existing, rules, onShortfall) ? outcome : OUTCOME.skipped;
}

function isSame(folderFd: number, entry: OtherEntry, existing: FileStat): boolean {
  if (entry.type !== existing.type) return false;
  // Of several names for one it cannot be told from here whether they should be.
  if (existing.links > 1 && entry.hardLink === undefined) return false;
  if (entry.type === "symlink") return readLinkAt(folderFd, entry.name) === entry.target;
  if (entry.type !== "char" && entry.type !== "block") return true;
  return entry.major === existing.rdevMajor && entry.minor === existing.rdevMinor;
}

function makeNew(
  folder: Folder,
  folderFd: number,
  entry: OtherEntry,
  existing: FileStat | undefined,
  rules: OtherRules,
  onShortfall: OnShortfall,
): boolean {
  if (existing?.type === "directory") {
    removeAt(folderFd, entry.name, existing, { recursive: rules.removeFolders });
    existing = undefined;
  }
  const direct = existing === undefined && !needsWholeFiles(rules.overwrite);
  const name = direct ? entry.name : temporaryName(entry.name);
  const leftOver = direct ? undefined : statAtIfExists(folderFd, name);
  if (leftOver !== undefined) removeAt(folderFd, name, leftOver, { recursive: false });
  try {
    make(folderFd, name, entry);
  } catch (error) {
    if (!isNotPossible(error)) throw error;
    onShortfall(shortfallOf(entry));
    return false;
  }
  try {
    apply(folder, folderFd, name, entry, undefined, rules, onShortfall);
    if (!direct) renameAt(folderFd, name, folderFd, entry.name);
  } catch (error) {
    unlinkAt(folderFd, name);
    throw error;
  }
  return true;
}

function make(folderFd: number, name: RawPath, entry: OtherEntry): void {
  switch (entry.type) {
    case "symlink":
      return makeSymlinkAt(entry.target, folderFd, name);
    case "fifo":
    case "socket":
      return makeNodeAt(folderFd, name, entry.type, 0o600);
    case "char":
    case "block":
      return makeNodeAt(folderFd, name, entry.type, 0o600, entry.major, entry.minor);
  }
}

function shortfallOf(entry: OtherEntry): Shortfall {
  if (entry.type === "symlink") return "symbolic link";
  return entry.type === "char" || entry.type === "block" ? "device" : "FIFO or socket";
}

function apply(
  folder: Folder,
  folderFd: number,
  name: RawPath,
  entry: OtherEntry,
  before: Parameters<typeof applyAttributes>[2]["before"],
  rules: OtherRules,
  onShortfall: OnShortfall,
): void {
  const options = { policy: rules.policy, before, mayHaveInherited: folder.inheritsAcl, leaveWritable: false };
  applyAttributes({ fd: folderFd, name }, entry, options, onShortfall);
}
