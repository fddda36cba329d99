import { UsageError, messageOf } from "../../errors.ts";
import { readXattrsAt, type Xattr } from "../../platform/extended-attributes.ts";
import { AT_FDCWD, closeFd, OPEN, openAt, openBeneath, openPath } from "../../platform/open.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { readLinkAt } from "../../platform/read-link.ts";
import { SystemError } from "../../platform/system-error.ts";
import { allExcluded } from "../all-excluded.ts";
import type { EntryDetails, LocalFile, ReportProblem, Source, SourceEntry } from "../source.ts";
import { compileExcludes } from "./exclude-patterns.ts";
import { CACHE_DIRECTORY_TAG, parseExcludeTag } from "./exclude-tags.ts";
import { normaliseRoot, physicalPathOf, type Root, type WantedName, wantedTree } from "./roots.ts";
import { walk } from "./walk.ts";

export interface LocalSourceOptions {
  /**
   * What to save, absolute or relative to the working directory. A symbolic link is saved as one; with a slash at the
   * end, as what it points to.
   */
  readonly paths: readonly RawPath[];
  /** See `ExcludePatterns`. */
  readonly excludes?: readonly string[];
  readonly excludesIgnoringCase?: readonly string[];
  /** Of folders with a CACHEDIR.TAG, save only the folder and the tag. */
  readonly excludeCaches?: boolean;
  /** The same for other tags, each `NAME` or `NAME:HEADER`. */
  readonly excludeIfPresent?: readonly string[];
  /** Leaves out files larger than this. */
  readonly excludeLargerThanBytes?: number;
  /** Leaves out these very folders, which need not exist yet: the repository, the cache. */
  readonly excludeFolders?: readonly RawPath[];
  /** Stays on the file system of each path; mount points are saved as empty folders. */
  readonly oneFileSystem?: boolean;
  /** `path` is as in entries. See `isVanished` for those that may be counted apart. */
  readonly onProblem: ReportProblem;
}

/**
 * Files and folders of this machine. Throws `UsageError` if none of the paths is there; those that are missing beside
 * others are reported as problems when the walk comes to them. `entries` throws it where all is excluded.
 */
export function openLocalSource(options: LocalSourceOptions): Source {
  const roots = options.paths.map(normaliseRoot);
  const topFd = openAt(AT_FDCWD, "/" as RawPath, OPEN.PATH | OPEN.DIRECTORY);
  try {
    requireOne(roots);
    return localSource(topFd, wantedTree(topFd, roots), options);
  } catch (error) {
    closeFd(topFd);
    throw error;
  }
}

function localSource(topFd: number, wanted: WantedName, options: LocalSourceOptions): Source {
  const walkOptions = {
    topFd,
    wanted,
    isExcluded: compileExcludes({
      patterns: options.excludes ?? [],
      patternsIgnoringCase: options.excludesIgnoringCase ?? [],
    }),
    excludeTags: [
      ...(options.excludeCaches === true ? [CACHE_DIRECTORY_TAG] : []),
      ...(options.excludeIfPresent ?? []).map(parseExcludeTag),
    ],
    excludeLargerThanBytes: options.excludeLargerThanBytes ?? Number.POSITIVE_INFINITY,
    excludeFolders: new Set((options.excludeFolders ?? []).map(physicalPathOf)),
    oneFileSystem: options.oneFileSystem ?? false,
    onProblem: options.onProblem,
  };
  const physicalOf = physicalPaths(wanted);
  const openedFolder = rememberOneFolder(topFd);
  return {
    async *entries() {
      const reached = yield* walk(walkOptions);
      if (reached === 0) throw allExcluded();
    },
    details: (entry) => readDetails(openedFolder, physicalOf(entry.path), entry, options.onProblem),
    content: (entry): LocalFile => ({ kind: "local", rootFd: topFd, path: physicalOf(entry.path) }),
    async close() {
      openedFolder.close();
      closeFd(topFd);
    },
  };
}

function requireOne(roots: readonly Root[]): void {
  if (roots.length === 0) throw new UsageError("nothing was named to be saved");
  const errors: string[] = [];
  for (const root of roots) {
    try {
      closeFd(openPath(`/${root.path}` as RawPath, OPEN.PATH | OPEN.NOFOLLOW));
      return;
    } catch (error) {
      errors.push(messageOf(error));
    }
  }
  throw new UsageError(`none of what is to be saved is there: ${errors.slice(0, 3).join("; ")}`, {
    hint: "Check the paths for typing errors, and that what they lie on is mounted.",
  });
}

/** From an entry's path to where it lies: they differ where a root was named through a link. */
function physicalPaths(wanted: WantedName): (path: RawPath) => RawPath {
  const links: { readonly path: string; readonly leadsTo: RawPath }[] = [];
  const collect = (folder: WantedName, path: string): void => {
    for (const [name, child] of folder.children) {
      // The innermost first.
      collect(child, `${path}${name}/`);
      if (child.leadsTo !== undefined) links.push({ path: `${path}${name}`, leadsTo: child.leadsTo });
    }
  };
  collect(wanted, "");
  return (path) => {
    for (const link of links) {
      if (path === link.path) return link.leadsTo;
      if (path.startsWith(`${link.path}/`)) {
        const below = path.slice(link.path.length + 1);
        return (link.leadsTo === "" ? below : `${link.leadsTo}/${below}`) as RawPath;
      }
    }
    return path;
  };
}

interface OpenedFolder {
  /** A descriptor for the folder at this physical path, valid until the next call. */
  open(path: RawPath): number;
  close(): void;
}

/** Details are asked for in walk order: the folder is mostly the same as the time before. */
function rememberOneFolder(topFd: number): OpenedFolder {
  let path: RawPath | undefined;
  let fd = topFd;
  const close = (): void => {
    if (path !== undefined) closeFd(fd);
    path = undefined;
  };
  return {
    open(wanted) {
      if (path === wanted) return fd;
      close();
      fd = openBeneath(topFd, wanted, OPEN.PATH | OPEN.DIRECTORY);
      path = wanted;
      return fd;
    },
    close,
  };
}

/** Throws `SystemError` where the link cannot be read. Attributes that cannot be read are reported, and left out. */
function readDetails(
  folder: OpenedFolder,
  physical: RawPath,
  entry: SourceEntry,
  onProblem: ReportProblem,
): EntryDetails {
  const slash = physical.lastIndexOf("/");
  const name = (physical === "" ? "." : physical.slice(slash + 1)) as RawPath;
  const told = (error: unknown): unknown =>
    error instanceof SystemError ? new SystemError(error.errno, error.syscall, `/${entry.path}` as RawPath) : error;
  const report = (error: unknown): void =>
    onProblem({ path: entry.path, during: "read extended attributes", error: told(error) });
  try {
    const folderFd = folder.open(physical.slice(0, Math.max(slash, 0)) as RawPath);
    const target = entry.stat.type === "symlink" ? readLinkAt(folderFd, name) : undefined;
    return { xattrs: xattrsOf(folderFd, name, report), target };
  } catch (error) {
    throw told(error);
  }
}

function xattrsOf(folderFd: number, name: RawPath, report: (error: unknown) => void): Xattr[] {
  try {
    return readXattrsAt(folderFd, name, (_, error) => report(error));
  } catch (error) {
    report(error);
    return [];
  }
}
