import { randomBytes } from "node:crypto";
import { mkdir, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { errnoOf, NoRepositoryError, StorageError } from "../errors.ts";
import type { Disk, DiskEntry, DiskFile, DiskStat } from "./disk.ts";
import { diskError } from "./disk-error.ts";
import { nodeDisk } from "./node-disk.ts";
import { checkObjectName, checkPrefix, checkRange, isObjectName, objectMissing } from "./object-name.ts";
import { pacedDisk, type Pace } from "./pace.ts";
import type { ByteRange, Storage, StoredObject } from "./storage.ts";

/*
 * Objects as files in a folder: an object's name is its path. How a put keeps its word:
 *
 *  1. The folders on the way are made, and each is synced into the one above it.
 *  2. The content goes to a new name in tmp/, and the file is synced. A crash up to here leaves a file in tmp/, which
 *     is nobody's object and is removed by a later put, a day old.
 *  3. The file gets its final name, unless that is taken. Its bytes are durable before the name exists, so whatever
 *     order the disc writes in, the name never stands for a torn object.
 *  4. The folder of the final name is synced. Only now is it acknowledged.
 *
 * Where the name is taken, whoever took it may have stopped between 3 and 4; so the existing object and its folder are
 * synced before "it is already there" is said.
 */

const TEMPORARY_FOLDER = "tmp";
const TEMPORARY_KEPT_MS = 24 * 60 * 60 * 1000;

/** How many files of a folder are asked for their size at once. */
const STAT_BATCH = 1024;

/** Opens the storage in an existing folder. `NoRepositoryError` where there is none. */
export async function openLocalStorage(path: string, pace?: Pace): Promise<Storage> {
  const root = resolve(path);
  let found;
  try {
    found = await stat(root);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT" && errnoOf(error) !== "ENOTDIR") {
      throw diskError(error, "opening the repository", root);
    }
    throw new NoRepositoryError(`there is no repository at ${path}: there is no such folder`, {
      hint: 'is its disc mounted? A new repository is made by "holdfast init"',
      cause: error,
    });
  }
  if (!found.isDirectory()) throw new NoRepositoryError(`there is no repository at ${path}: it is not a folder`);
  return storageOnDisk(pace === undefined ? nodeDisk(root) : pacedDisk(nodeDisk(root), pace));
}

/** Opens the storage in a folder, which is made (with those above it) where it is not there. */
export async function createLocalStorage(path: string, pace?: Pace): Promise<Storage> {
  const root = resolve(path);
  try {
    await makeFolders(root);
  } catch (error) {
    throw diskError(error, "making the repository's folder", root);
  }
  return openLocalStorage(path, pace);
}

/** Not by mkdir's option `recursive`, which says ENOENT where a disc is read-only. */
async function makeFolders(folder: string): Promise<void> {
  try {
    await mkdir(folder, 0o700);
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return;
    if (errnoOf(error) !== "ENOENT" || dirname(folder) === folder) throw error;
    await makeFolders(dirname(folder));
    await mkdir(folder, 0o700);
  }
  await nodeDisk(dirname(folder)).syncFolder("");
}

/** Local storage on any disc. The top folder must be there. */
export function storageOnDisk(disk: Disk): Storage {
  const folders = durableFolders(disk);
  let cleaned = false;

  async function put(name: string, content: readonly Uint8Array[]): Promise<boolean> {
    checkObjectName(name);
    try {
      for (;;) {
        const existing = await disk.stat(name);
        if (existing === undefined && (await putNew(name, content))) return true;
        if (await settleExisting(name)) return false;
      }
    } catch (error) {
      throw diskError(error, `storing ${name}`, disk.location);
    }
  }

  /** False where the name was taken meanwhile. */
  async function putNew(name: string, content: readonly Uint8Array[]): Promise<boolean> {
    await folders.make(TEMPORARY_FOLDER);
    await folders.make(folderOf(name));
    if (!cleaned) await removeOldTemporaries();
    const temporary = `${TEMPORARY_FOLDER}/${process.pid}-${randomBytes(12).toString("hex")}`;
    const file = await disk.create(temporary);
    try {
      try {
        await writeAll(file, content);
        await file.sync();
      } finally {
        await file.close();
      }
      await disk.moveIfAbsent(temporary, name);
    } catch (error) {
      await disk.remove(temporary).catch(() => undefined);
      if (errnoOf(error) === "EEXIST") return false;
      throw error;
    }
    await folders.sync(folderOf(name));
    return true;
  }

  /** Makes sure of an object that somebody else stored. False where it is gone again. */
  async function settleExisting(name: string): Promise<boolean> {
    await folders.make(folderOf(name));
    let file: DiskFile;
    try {
      file = await disk.open(name);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return false;
      throw error;
    }
    try {
      if ((await file.stat()).kind !== "file") throw new StorageError(`${disk.location}/${name} is not a file`);
      await file.sync();
    } finally {
      await file.close();
    }
    await folders.sync(folderOf(name));
    return true;
  }

  async function removeOldTemporaries(): Promise<void> {
    cleaned = true;
    for (const { name } of await disk.list(TEMPORARY_FOLDER)) {
      const path = `${TEMPORARY_FOLDER}/${name}`;
      const found = await disk.stat(path);
      if (found?.kind !== "file" || Date.now() - found.modifiedMs < TEMPORARY_KEPT_MS) continue;
      // Another process may be faster: what counts is that it goes.
      await disk.remove(path).catch(() => undefined);
    }
  }

  async function get(name: string, range?: ByteRange): Promise<Uint8Array> {
    checkObjectName(name);
    try {
      if (!(await folders.exists(folderOf(name)))) throw await missing(name);
      const file = await disk.open(name);
      try {
        const { kind, sizeBytes } = await file.stat();
        if (kind !== "file") throw await missing(name);
        const wanted = range ?? { offset: 0, length: sizeBytes };
        checkRange(name, wanted, sizeBytes);
        return await readAll(name, file, wanted);
      } finally {
        await file.close();
      }
    } catch (error) {
      if (errnoOf(error) === "ENOENT" || errnoOf(error) === "EISDIR") throw await missing(name, error);
      throw diskError(error, `reading ${name}`, disk.location);
    }
  }

  async function fileOf(name: string, pathOf: (path: string) => string): Promise<string> {
    checkObjectName(name);
    try {
      if (!(await folders.exists(folderOf(name)))) throw await missing(name);
      return pathOf(name);
    } catch (error) {
      throw diskError(error, `reading ${name}`, disk.location);
    }
  }

  async function* list(prefix: string): AsyncGenerator<StoredObject> {
    checkPrefix(prefix);
    try {
      const pending = [prefix.slice(0, -1)];
      if (!(await folders.exists(pending[0]))) return await insistOnTop();
      for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
        const entries = await listFolder(folder);
        pending.push(...entries.filter(({ kind }) => kind === "folder").map(({ name }) => name));
        const files = entries.filter(({ kind }) => kind === "file");
        for (let at = 0; at < files.length; at += STAT_BATCH) {
          // Not `yield*`, nor a generator for each folder: at 160,000 objects that takes longer than the disc does.
          for (const object of await statAll(files.slice(at, at + STAT_BATCH))) yield object;
        }
      }
    } catch (error) {
      throw diskError(error, prefix === "" ? "listing" : `listing ${prefix}`, disk.location);
    }
  }

  /** With whole names; without what can be no object or folder of objects. */
  async function listFolder(folder: string): Promise<DiskEntry[]> {
    const entries = await listIfThere(folder);
    const named = folder === "" ? entries : entries.map((entry) => ({ ...entry, name: `${folder}/${entry.name}` }));
    return named.filter(({ name }) => isObjectName(name));
  }

  /** Without those that were deleted meanwhile. */
  async function statAll(files: readonly DiskEntry[]): Promise<StoredObject[]> {
    const unknown = files.filter((file) => file.stat === undefined);
    const stats = (await disk.statAll(unknown.map(({ name }) => name))).values();
    return files.flatMap(({ name, stat: told }) => {
      const found = told ?? stats.next().value;
      return found?.kind === "file" ? [storedObject(name, found)] : [];
    });
  }

  async function listIfThere(folder: string): ReturnType<Disk["list"]> {
    try {
      return await disk.list(folder);
    } catch (error) {
      if (errnoOf(error) === "ENOENT" && folder !== "") return [];
      throw error;
    }
  }

  async function statObject(name: string): Promise<StoredObject | undefined> {
    checkObjectName(name);
    try {
      const found = (await folders.exists(folderOf(name))) ? await disk.stat(name) : undefined;
      if (found === undefined) await insistOnTop();
      return found?.kind === "file" ? storedObject(name, found) : undefined;
    } catch (error) {
      throw diskError(error, `looking up ${name}`, disk.location);
    }
  }

  async function deleteObject(name: string): Promise<void> {
    checkObjectName(name);
    try {
      if (!(await folders.exists(folderOf(name)))) return await insistOnTop();
      const found = await disk.stat(name);
      if (found !== undefined && found.kind !== "file") return;
      if (found !== undefined) await disk.remove(name).catch(ignoreMissing);
      await folders.sync(folderOf(name));
    } catch (error) {
      throw diskError(error, `deleting ${name}`, disk.location);
    }
  }

  /** A disc that was unmounted must not look like one without objects. */
  async function insistOnTop(): Promise<void> {
    if ((await disk.stat(""))?.kind === "folder") return;
    throw new StorageError(`the repository's folder ${disk.location} is gone`, {
      hint: "is the disc still mounted?",
    });
  }

  async function missing(name: string, cause?: unknown): Promise<Error> {
    await insistOnTop();
    return objectMissing(name, disk.location, cause);
  }

  const { pathOf } = disk;
  return {
    location: disk.location,
    ...(pathOf === undefined ? {} : { fileOf: (name: string) => fileOf(name, pathOf) }),
    put,
    get,
    list,
    stat: statObject,
    delete: deleteObject,
    close: async () => undefined,
  };
}

function folderOf(name: string): string {
  const slash = name.lastIndexOf("/");
  return slash < 0 ? "" : name.slice(0, slash);
}

function storedObject(name: string, { sizeBytes, modifiedMs }: DiskStat): StoredObject {
  return { name, sizeBytes, modifiedMs };
}

async function writeAll(file: DiskFile, content: readonly Uint8Array[]): Promise<void> {
  let pieces = content.filter((piece) => piece.byteLength > 0);
  while (pieces.length > 0) pieces = withoutFirst(pieces, await file.write(pieces));
}

function withoutFirst(pieces: Uint8Array[], byteCount: number): Uint8Array[] {
  let first = 0;
  let left = byteCount;
  while (first < pieces.length && left >= pieces[first].byteLength) left -= pieces[first++].byteLength;
  const rest = pieces.slice(first);
  if (left > 0) rest[0] = rest[0].subarray(left);
  return rest;
}

async function readAll(name: string, file: DiskFile, { offset, length }: ByteRange): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(length);
  for (let done = 0; done < length;) {
    const count = await file.read(bytes.subarray(done), offset + done);
    if (count === 0) checkRange(name, { offset, length }, offset + done);
    done += count;
  }
  return bytes;
}

function ignoreMissing(error: unknown): void {
  if (errnoOf(error) !== "ENOENT") throw error;
}

interface DurableFolders {
  /** Makes a folder, and those above it, so that it survives a power cut. */
  make(folder: string): Promise<void>;
  /** Whether it is there, and neither it nor one above it is a symbolic link. */
  exists(folder: string): Promise<boolean>;
  /** `Disk.syncFolder`, where those who wait for one folder at the same time share one call. */
  sync(folder: string): Promise<void>;
}

/** Remembers which folders were seen and synced, as storage never removes one. */
function durableFolders(disk: Disk): DurableFolders {
  const seen = new Set([""]);
  const durable = new Set([""]);
  const syncs = new Map<string, { running: Promise<void>; next: Promise<void> | undefined }>();

  async function make(folder: string): Promise<void> {
    if (durable.has(folder)) return;
    await make(folderOf(folder));
    try {
      await disk.makeFolder(folder);
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
      if (!(await exists(folder))) throw notAFolder(folder);
    }
    await sync(folderOf(folder));
    seen.add(folder);
    durable.add(folder);
  }

  async function exists(folder: string): Promise<boolean> {
    if (seen.has(folder)) return true;
    if (!(await exists(folderOf(folder)))) return false;
    const found = await disk.stat(folder);
    if (found === undefined || found.kind === "file") return false;
    if (found.kind !== "folder") throw notAFolder(folder);
    seen.add(folder);
    return true;
  }

  function notAFolder(path: string): StorageError {
    return new StorageError(`${disk.location}/${path} is not a folder`, {
      hint: "symbolic links inside a repository are not followed: move the whole repository, or mount a disc there",
    });
  }

  /** A sync that is already running may have begun too early for this caller: it joins the one after. */
  function sync(folder: string): Promise<void> {
    const state = syncs.get(folder);
    if (state === undefined) return start(folder);
    state.next ??= state.running.catch(() => undefined).then(() => start(folder));
    return state.next;
  }

  function start(folder: string): Promise<void> {
    const running = disk.syncFolder(folder);
    const state = { running, next: undefined };
    syncs.set(folder, state);
    const finish = (): void => {
      if (syncs.get(folder) === state && state.next === undefined) syncs.delete(folder);
    };
    running.then(finish, finish);
    return running;
  }

  return { make, exists, sync };
}
