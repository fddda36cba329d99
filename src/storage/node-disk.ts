import { constants, lstat } from "node:fs";
import type { Stats } from "node:fs";
import { link, mkdir, open, readdir, rename, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { errnoOf } from "../errors.ts";
import type { Disk, DiskEntryKind, DiskFile, DiskStat } from "./disk.ts";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** Says that a file system has no hard links: FAT, exFAT, some network and FUSE mounts. */
const NO_HARD_LINKS = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** The real disc, below the folder `root`. Files are for the owner alone (0600, folders 0700). */
export function nodeDisk(root: string): Disk {
  const full = (path: string): string => (path === "" ? root : `${root}/${path}`);

  async function moveIfAbsent(from: string, to: string): Promise<void> {
    try {
      await link(full(from), full(to));
    } catch (error) {
      if (!NO_HARD_LINKS.has(errnoOf(error) ?? "")) throw error;
      return moveByRename(from, to);
    }
    await unlink(full(from));
  }

  /**
   * Where there are no hard links. Two processes that store one name at the same moment may both pass the test, and
   * the later replaces the earlier: objects are named by content, so that changes nothing.
   */
  async function moveByRename(from: string, to: string): Promise<void> {
    if ((await lstatOf(full(to))) !== undefined) {
      throw Object.assign(new Error(`EEXIST: file already exists, '${full(to)}'`), { code: "EEXIST" });
    }
    await rename(full(from), full(to));
  }

  return {
    location: root,
    create: async (path) => diskFile(await open(full(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)),
    // O_NONBLOCK: a FIFO planted in the folder must not hold us for ever.
    open: async (path) => diskFile(await open(full(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)),
    moveIfAbsent,
    remove: (path) => unlink(full(path)),
    stat: (path) => lstatOf(full(path)),
    list: async (folder) =>
      (await readdir(full(folder), { withFileTypes: true })).map((entry) => ({
        name: entry.name,
        kind: kindOf(entry),
      })),
    makeFolder: (path) => mkdir(full(path), 0o700),
    syncFolder: async (path) => {
      const folder = await open(full(path), O_RDONLY | O_DIRECTORY);
      try {
        await folder.sync();
      } finally {
        await folder.close();
      }
    },
  };
}

function diskFile(handle: FileHandle): DiskFile {
  return {
    write: async (pieces) => (await handle.writev(pieces as Uint8Array[])).bytesWritten,
    read: async (into, offset) => (await handle.read(into, 0, into.byteLength, offset)).bytesRead,
    stat: async () => diskStat(await handle.stat()),
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}

/** By callback, because a listing asks for many thousands: promises of node:fs take half as long again. */
function lstatOf(path: string): Promise<DiskStat | undefined> {
  return new Promise((resolve, reject) => {
    lstat(path, (error, stats) => {
      if (error === null) resolve(diskStat(stats));
      else if (error.code === "ENOENT") resolve(undefined);
      else reject(error);
    });
  });
}

function diskStat(stats: Stats): DiskStat {
  return { kind: kindOf(stats), sizeBytes: stats.size, modifiedMs: Math.floor(stats.mtimeMs) };
}

function kindOf(entry: { isFile(): boolean; isDirectory(): boolean }): DiskEntryKind {
  return entry.isFile() ? "file" : entry.isDirectory() ? "folder" : "other";
}
