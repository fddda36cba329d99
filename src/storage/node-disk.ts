import { constants, lstatSync } from "node:fs";
import type { Stats } from "node:fs";
import { link, lstat, mkdir, open, readdir, rename, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { errnoOf } from "../errors.ts";
import type { Disk, DiskEntryKind, DiskFile, DiskStat } from "./disk.ts";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** Says that a file system has no hard links: FAT, exFAT, some network and FUSE mounts. */
const NO_HARD_LINKS = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

let lastRename: Promise<void> = Promise.resolve();

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
   * Where there are no hard links: one after another in this process. Two processes that store one name at the same
   * moment may both pass the test, and the later replaces the earlier: objects are named by content, so that changes
   * nothing.
   */
  function moveByRename(from: string, to: string): Promise<void> {
    const moved = lastRename.then(async () => {
      if ((await lstatOf(full(to))) !== undefined) {
        throw Object.assign(new Error(`EEXIST: file already exists, '${full(to)}'`), { code: "EEXIST" });
      }
      await rename(full(from), full(to));
    });
    lastRename = moved.catch(() => undefined);
    return moved;
  }

  return {
    location: root,
    pathOf: full,
    create: async (path) => diskFile(await open(full(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)),
    // O_NONBLOCK: a FIFO planted in the folder must not hold us for ever.
    open: async (path) => diskFile(await open(full(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)),
    moveIfAbsent,
    remove: (path) => unlink(full(path)),
    stat: (path) => lstatOf(full(path)),
    statAll: (paths) => statAll(paths.map(full)),
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

/** How many stats are done without letting anything else run, and how long they take when the disc need not be read. */
const STATS_AT_ONCE = 32;
const CACHED_STATS_MS = 1;

/**
 * While the answers come from memory, asking the kernel directly takes 2 µs each, a quarter of what handing the call to
 * another thread does. Once they are seen to come from the disc, the threads wait for it, and this one goes on.
 */
async function statAll(paths: readonly string[]): Promise<(DiskStat | undefined)[]> {
  const found: (DiskStat | undefined)[] = [];
  let cached = true;
  for (let at = 0; at < paths.length; at += STATS_AT_ONCE) {
    const batch = paths.slice(at, at + STATS_AT_ONCE);
    const startMs = performance.now();
    found.push(...(cached ? batch.map(lstatNow) : await Promise.all(batch.map(lstatOf))));
    cached = performance.now() - startMs < CACHED_STATS_MS;
  }
  return found;
}

function lstatNow(path: string): DiskStat | undefined {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats && diskStat(stats);
}

async function lstatOf(path: string): Promise<DiskStat | undefined> {
  try {
    return diskStat(await lstat(path));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function diskStat(stats: Stats): DiskStat {
  return { kind: kindOf(stats), sizeBytes: stats.size, modifiedMs: Math.floor(stats.mtimeMs) };
}

function kindOf(entry: { isFile(): boolean; isDirectory(): boolean }): DiskEntryKind {
  return entry.isFile() ? "file" : entry.isDirectory() ? "folder" : "other";
}
