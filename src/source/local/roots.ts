/**
 * The places that were named to be saved, as a tree of wanted names from `/` down.
 *
 * A place may be named through a symbolic link: `/home/ann`, where `/home` is a link to `/data/home`. It is saved as it
 * was named, and the links on the way stand as folders; what is read is the physical path, which holds no links, so that
 * nobody can lead the walk elsewhere by swapping one while it runs.
 */
import { realpathSync } from "node:fs";
import { UsageError } from "../../errors.ts";
import { AT_FDCWD, closeFd, OPEN, openBeneath } from "../../platform/open.ts";
import { joinRaw, rawPathFromBytes, type RawPath, rawPathToBytes } from "../../platform/raw-path.ts";
import { readLinkAt } from "../../platform/read-link.ts";
import { statAt, statFd } from "../../platform/stat.ts";

/** A folder on the way to what is wanted, or a place that is wanted as a whole. */
export interface WantedName {
  /** Everything below is saved, and not only `children`. */
  readonly whole: boolean;
  /** In ascending order of name. */
  readonly children: ReadonlyMap<RawPath, WantedName>;
  /** Where a symbolic link of this name leads and is to be followed: the physical path it stands for. */
  readonly leadsTo: RawPath | undefined;
}

/** A place to be saved: absolute, without `.`, `..` and repeated slashes, and without the slash at the start. */
export interface Root {
  readonly path: RawPath;
  /** It was written with a slash at its end: if it is a symbolic link, what it points to is meant. */
  readonly follow: boolean;
}

/** Relative paths start at the working directory. `..` is taken by name, as in restic: links are not looked up. */
export function normaliseRoot(path: RawPath): Root {
  if (path === "") throw new UsageError("one of the places to be saved has an empty name");
  const absolute = path.startsWith("/") ? path : `${workingDirectory()}/${path}`;
  const parts: string[] = [];
  for (const part of absolute.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return { path: parts.join("/") as RawPath, follow: /(?:^|\/)\.{0,2}$/.test(path) };
}

/** By bytes: Node's own gives it as text. */
function workingDirectory(): RawPath {
  return readLinkAt(AT_FDCWD, "/proc/self/cwd" as RawPath);
}

interface GrowingName {
  whole: boolean;
  children: Map<RawPath, GrowingName>;
  leadsTo: RawPath | undefined;
}

/**
 * One tree of all roots. Those within others stay in it, because they may lie on another file system. `topFd` stands for
 * `/`. What is not there becomes part of the tree like everything else: the walk will find that out.
 */
export function wantedTree(topFd: number, roots: readonly Root[]): WantedName {
  const top: GrowingName = { whole: false, children: new Map(), leadsTo: undefined };
  for (const root of roots) addRoot(top, topFd, root);
  sortChildren(top);
  return top;
}

function addRoot(top: GrowingName, topFd: number, { path, follow }: Root): void {
  const parts = path === "" ? [] : (path.split("/") as RawPath[]);
  const mayBeLinked = !isReachedWithoutLinks(topFd, path);
  let folder = top;
  let physical = "" as RawPath;
  for (const [index, part] of parts.entries()) {
    let child = folder.children.get(part);
    if (child === undefined) {
      child = { whole: false, children: new Map(), leadsTo: undefined };
      folder.children.set(part, child);
    }
    physical = joinRaw(physical, part);
    if (mayBeLinked && (index < parts.length - 1 || follow)) child.leadsTo ??= endOfLink(physical);
    physical = child.leadsTo ?? physical;
    folder = child;
  }
  folder.whole = true;
}

function isReachedWithoutLinks(topFd: number, path: RawPath): boolean {
  try {
    const fd = openBeneath(topFd, path, OPEN.PATH | OPEN.NOFOLLOW);
    try {
      return statFd(fd).type !== "symlink";
    } finally {
      closeFd(fd);
    }
  } catch {
    return false;
  }
}

/** Undefined where it is no link, or one that leads nowhere: then it is saved as what it is. */
function endOfLink(physical: RawPath): RawPath | undefined {
  const absolute = `/${physical}` as RawPath;
  try {
    return statAt(AT_FDCWD, absolute).type === "symlink" ? realPath(absolute) : undefined;
  } catch {
    return undefined;
  }
}

/** Physical path of what is there, without the slash at the start. */
function realPath(absolute: RawPath): RawPath {
  return rawPathFromBytes(realpathSync.native(rawPathToBytes(absolute), "buffer")).slice(1) as RawPath;
}

/** Physical path of a folder that may not exist yet, without the slash at the start. */
export function physicalPathOf(path: RawPath): RawPath {
  const wanted = normaliseRoot(path).path;
  for (let length = wanted.length; length > 0; length = Math.max(0, wanted.lastIndexOf("/", length - 1))) {
    try {
      return joinRest(realPath(`/${wanted.slice(0, length)}` as RawPath), wanted.slice(length + 1) as RawPath);
    } catch {
      // Nothing there: try the folder above.
    }
  }
  return wanted;
}

function joinRest(folder: RawPath, rest: RawPath): RawPath {
  return rest === "" ? folder : joinRaw(folder, rest);
}

function sortChildren(folder: GrowingName): void {
  const sorted = [...folder.children].sort(([a], [b]) => (a < b ? -1 : 1));
  folder.children = new Map(sorted);
  for (const [, child] of sorted) sortChildren(child);
}
