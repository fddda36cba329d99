import { errnoOf } from "../../errors.ts";
import type { Disk, DiskEntryKind, DiskFile, DiskStat } from "../disk.ts";
import { OPEN } from "./session.ts";
import type { Handle, SftpSession } from "./session.ts";
import type { FileAttributes } from "./wire.ts";

const FILE_TYPE_MASK = 0o170000;
const REGULAR_FILE = 0o100000;
const FOLDER = 0o040000;

/** How many attributes are asked for at once. */
const STATS_AT_ONCE = 64;

/** The folder `root` of an SFTP server as a disc. Relative paths begin at the user's home. */
export function sftpDisk(session: SftpSession, root: string, location: string): Disk {
  const full = (path: string): string => (path === "" ? root || "." : root === "" ? path : `${root}/${path}`);

  async function stat(path: string): Promise<DiskStat | undefined> {
    try {
      // The top itself may be a symbolic link, as with a local folder.
      return diskStat(await (path === "" ? session.stat(full(path)) : session.lstat(full(path))));
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** The protocol has no word for "there already" or "full": if it just failed, look why. */
  async function explain(failure: unknown, path: string): Promise<never> {
    if (errnoOf(failure) !== "EFAILURE") throw failure;
    if (path !== "" && (await stat(path)) !== undefined) throw withCode("EEXIST", path, failure);
    return explainFull(failure);
  }

  async function explainFull(failure: unknown): Promise<never> {
    if (errnoOf(failure) === "EFAILURE") {
      const free = await session.freeBlocks(full("")).catch(() => undefined);
      if (free === 0) throw withCode("ENOSPC", location, failure);
    }
    throw failure;
  }

  async function create(path: string): Promise<DiskFile> {
    try {
      const handle = await session.open(full(path), OPEN.write | OPEN.create | OPEN.exclusive, 0o600);
      return sftpFile(session, handle, undefined, explainFull);
    } catch (error) {
      return explain(error, path);
    }
  }

  /** The protocol cannot forbid to follow a symbolic link, so both are asked at once: what it is, and to open it. */
  async function openFile(path: string): Promise<DiskFile> {
    const opening = session.open(full(path), OPEN.read, 0);
    const [found, opened] = await Promise.allSettled([stat(path), opening]);
    if (found.status === "fulfilled" && found.value?.kind === "file") {
      return sftpFile(session, await opening, found.value, explainFull);
    }
    if (opened.status === "fulfilled") closeUnwatched(session, opened.value);
    if (found.status === "rejected") throw found.reason;
    throw withCode(found.value === undefined ? "ENOENT" : found.value.kind === "folder" ? "EISDIR" : "ELOOP", path);
  }

  async function moveIfAbsent(from: string, to: string): Promise<void> {
    try {
      await session.hardLink(full(from), full(to));
    } catch (error) {
      if (errnoOf(error) !== "EOPNOTSUPP" && errnoOf(error) !== "EFAILURE") throw error;
      if ((await stat(to)) !== undefined) throw withCode("EEXIST", to, error);
      // By the protocol this must fail where the name is taken; for servers that break it, we have just looked.
      await session.rename(full(from), full(to)).catch((failure: unknown) => explain(failure, to));
      return;
    }
    // Not waited for: what is left of it when the connection breaks is removed by a later put.
    session.remove(full(from)).catch(() => undefined);
  }

  /** OpenSSH opens folders as it does files. Where a server does not, there is no way to make it sync one. */
  async function syncFolder(path: string): Promise<void> {
    if (!session.canSync) return;
    let handle: Handle;
    try {
      handle = await session.open(full(path), OPEN.read, 0);
    } catch (error) {
      if (errnoOf(error) === "EFAILURE" || errnoOf(error) === "EACCES") return;
      throw error;
    }
    try {
      await session.sync(handle);
    } finally {
      closeUnwatched(session, handle);
    }
  }

  return {
    location,
    create,
    open: openFile,
    moveIfAbsent,
    remove: (path) => session.remove(full(path)),
    stat,
    statAll: async (paths) => {
      const found: (DiskStat | undefined)[] = [];
      for (let at = 0; at < paths.length; at += STATS_AT_ONCE) {
        found.push(...(await Promise.all(paths.slice(at, at + STATS_AT_ONCE).map(stat))));
      }
      return found;
    },
    list: async (folder) =>
      (await session.list(full(folder))).map((entry) => {
        const { kind, ...rest } = diskStat(entry);
        return { name: entry.name, kind, stat: { kind, ...rest } };
      }),
    makeFolder: (path) => session.makeFolder(full(path), 0o700).catch((error: unknown) => explain(error, path)),
    syncFolder,
  };
}

/** `found` is what is known of a file that is opened for reading. */
function sftpFile(
  session: SftpSession,
  handle: Handle,
  found: DiskStat | undefined,
  explain: (failure: unknown) => Promise<never>,
): DiskFile {
  let writtenBytes = 0;

  async function write(pieces: readonly Uint8Array[]): Promise<number> {
    const start = writtenBytes;
    const writes: Promise<void>[] = [];
    for (const piece of pieces) {
      for (let at = 0; at < piece.byteLength; at += session.maxWriteBytes) {
        const part = piece.subarray(at, at + session.maxWriteBytes);
        writes.push(session.write(handle, writtenBytes, part));
        writtenBytes += part.byteLength;
      }
    }
    await allOrFirstFailure(writes).catch(explain);
    return writtenBytes - start;
  }

  async function read(into: Uint8Array, offset: number): Promise<number> {
    const reads: Promise<number>[] = [];
    for (let at = 0; at < into.byteLength; at += session.maxReadBytes) {
      const wanted = Math.min(session.maxReadBytes, into.byteLength - at);
      reads.push(
        session.read(handle, offset + at, wanted).then((data) => {
          if (data !== undefined) into.set(data, at);
          return data?.byteLength ?? 0;
        }),
      );
    }
    const counts = await allOrFirstFailure(reads);
    // Up to the first that came short; what came after it is asked for again.
    const short = counts.findIndex((count, index) => index < counts.length - 1 && count < session.maxReadBytes);
    return (short < 0 ? counts : counts.slice(0, short + 1)).reduce((sum, count) => sum + count, 0);
  }

  return {
    write,
    read,
    stat: async () => found ?? diskStat(await session.fstat(handle)),
    sync: () => session.sync(handle).catch(explain),
    close: async () => {
      // After a sync, closing tells nothing new.
      if (found !== undefined || session.canSync) closeUnwatched(session, handle);
      else await session.close(handle).catch(explain);
    },
  };
}

function closeUnwatched(session: SftpSession, handle: Handle): void {
  session.close(handle).catch(() => undefined);
}

/** Waits for all, so that none fails unseen or works on behind the back of who asked. */
async function allOrFirstFailure<Value>(promises: readonly Promise<Value>[]): Promise<Value[]> {
  const results = await Promise.allSettled(promises);
  return results.map((result) => {
    if (result.status === "rejected") throw result.reason;
    return result.value;
  });
}

function diskStat({ mode, sizeBytes, modifiedSeconds }: FileAttributes): DiskStat {
  return { kind: kindOf(mode), sizeBytes: sizeBytes ?? 0, modifiedMs: (modifiedSeconds ?? 0) * 1000 };
}

/** A server that does not tell the type has files and folders that cannot be told apart: unusable. */
function kindOf(mode: number | undefined): DiskEntryKind {
  const type = (mode ?? 0) & FILE_TYPE_MASK;
  return type === REGULAR_FILE ? "file" : type === FOLDER ? "folder" : "other";
}

function withCode(code: string, path: string, cause?: unknown): Error {
  return Object.assign(new Error(`${code}: '${path}'`, { cause }), { code });
}
