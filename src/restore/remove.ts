import { HoldfastError } from "../errors.ts";
import type { FileStat } from "../platform/file-stat.ts";
import { listDirectory } from "../platform/list-directory.ts";
import { removeDirectoryAt, unlinkAt } from "../platform/make.ts";
import { closeFd } from "../platform/open.ts";
import { displayPath, joinRaw, type RawPath } from "../platform/raw-path.ts";
import { setInodeFlags } from "../platform/set-attributes.ts";
import { statAt, statFd } from "../platform/stat.ts";
import { KEEPS_WRITING_OFF, makeChangeable } from "./attributes.ts";
import { openFolderAt } from "./open-folder.ts";

export interface RemoveOptions {
  /** A folder goes with all that is in it; without this, only an empty one. */
  readonly recursive: boolean;
  /** Told of each name that is gone, with its path below the folder it was called for; folders after their content. */
  readonly onRemoved?: (path: RawPath, stat: FileStat) => void;
}

/**
 * Removes what has a name in the folder that `dirFd` stands for, whatever its rights and flags. Follows no links, and
 * does not go into other file systems. Throws `SystemError`, or `HoldfastError` where something is mounted.
 */
export function removeAt(dirFd: number, name: RawPath, stat: FileStat, options: RemoveOptions): void {
  removeBelow({ ...options, fileSystem: statFd(dirFd) }, dirFd, name, stat, name);
}

interface Removal extends RemoveOptions {
  readonly fileSystem: Pick<FileStat, "deviceMajor" | "deviceMinor">;
}

function removeBelow(removal: Removal, dirFd: number, name: RawPath, stat: FileStat, path: RawPath): void {
  if (stat.type === "directory") {
    const { deviceMajor, deviceMinor } = removal.fileSystem;
    if (stat.deviceMajor !== deviceMajor || stat.deviceMinor !== deviceMinor) {
      throw new HoldfastError(`another file system is mounted at ${displayPath(path)}, and is left alone`);
    }
    if (removal.recursive) emptyFolder(removal, dirFd, name, stat, path);
    else makeChangeable(dirFd, name, stat);
    removeDirectoryAt(dirFd, name);
  } else {
    makeChangeable(dirFd, name, stat);
    unlinkAt(dirFd, name);
  }
  removal.onRemoved?.(path, stat);
}

function emptyFolder(removal: Removal, dirFd: number, name: RawPath, stat: FileStat, path: RawPath): void {
  const fd = openFolderAt(dirFd, name);
  try {
    if ((stat.inodeFlags & KEEPS_WRITING_OFF) !== 0) setInodeFlags(fd, stat.inodeFlags & ~KEEPS_WRITING_OFF);
    for (const inner of listDirectory(fd)) removeBelow(removal, fd, inner, statAt(fd, inner), joinRaw(path, inner));
  } finally {
    closeFd(fd);
  }
}
