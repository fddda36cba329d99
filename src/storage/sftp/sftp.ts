import { setTimeout as wait } from "node:timers/promises";
import { NoRepositoryError } from "../../errors.ts";
import type { Disk } from "../disk.ts";
import { diskError } from "../disk-error.ts";
import { storageOnDisk } from "../local.ts";
import { pacedDisk, type Pace } from "../pace.ts";
import type { Storage, StoredObject } from "../storage.ts";
import { ConnectionLostError, openSession } from "./session.ts";
import type { SftpChannel, SftpSession } from "./session.ts";
import { sftpDisk } from "./sftp-disk.ts";
import { startSsh } from "./ssh-process.ts";
import type { SshTarget } from "./ssh-process.ts";

/** Where a repository lies on an SFTP server. */
export interface SftpPlace extends SshTarget {
  /** A path without a slash at its start begins at the user's home. */
  readonly path: string;
}

/** How long is waited before each try to connect again, in ms: 70 s in all, and longer than a router takes to start. */
const RETRY_DELAYS_MS: readonly number[] = [250, 500, 1000, 2000, 4000, 8000, 16_000, 40_000];

/** Opens the storage in an existing folder of an SFTP server. `NoRepositoryError` where there is none. */
export async function openSftpStorage(
  place: SftpPlace,
  sshArguments: readonly string[] = [],
  pace?: Pace,
): Promise<Storage> {
  return openOverChannel(place.path, locationOf(place), () => startSsh(place, sshArguments), undefined, pace);
}

/** As `openSftpStorage`; the folder, and those above it, are made where they are not there. */
export async function createSftpStorage(
  place: SftpPlace,
  sshArguments: readonly string[] = [],
  pace?: Pace,
): Promise<Storage> {
  return createOverChannel(place.path, locationOf(place), () => startSsh(place, sshArguments), undefined, pace);
}

/** For people and logs: as it is given on the command line. */
export function locationOf({ host, user, port, path }: SftpPlace): string {
  const bracketed = host.includes(":") ? `[${host}]` : host;
  const login = user === undefined ? bracketed : `${user}@${bracketed}`;
  return port === undefined ? `sftp:${login}:${path}` : `sftp://${login}:${port}/${path}`;
}

/** `openSftpStorage` over any channel: `connect` is called again when one breaks. */
export async function openOverChannel(
  path: string,
  location: string,
  connect: () => SftpChannel,
  retryDelaysMs = RETRY_DELAYS_MS,
  pace?: Pace,
): Promise<Storage> {
  return begin({ path, location, connect, retryDelaysMs, pace }, async (session) => {
    const found = await sftpDisk(session, path, location).stat("");
    if (found?.kind === "folder") return;
    const why = found === undefined ? "there is no such folder" : "it is not a folder";
    throw new NoRepositoryError(`there is no repository at ${location}: ${why}`, {
      hint: 'a new repository is made by "holdfast init"',
    });
  });
}

/** `createSftpStorage` over any channel. */
export async function createOverChannel(
  path: string,
  location: string,
  connect: () => SftpChannel,
  retryDelaysMs = RETRY_DELAYS_MS,
  pace?: Pace,
): Promise<Storage> {
  return begin({ path, location, connect, retryDelaysMs, pace }, async (session) => {
    const top = sftpDisk(session, path.startsWith("/") ? "/" : "", location);
    await makeFolders(top, path.replace(/^\/+|\/+$/g, ""));
  });
}

interface Connector {
  readonly path: string;
  readonly location: string;
  readonly connect: () => SftpChannel;
  readonly retryDelaysMs: readonly number[];
  readonly pace: Pace | undefined;
}

async function begin(to: Connector, prepare: (session: SftpSession) => Promise<void>): Promise<Storage> {
  const session = await openSession(to.connect());
  try {
    await prepare(session);
  } catch (error) {
    await session.end();
    throw diskError(error, "opening the repository", to.location);
  }
  return reconnectingStorage(to, session);
}

/** `folder` is relative to the top of the disc, which is there. */
async function makeFolders(disk: Disk, folder: string): Promise<void> {
  if (folder === "") return;
  const found = await disk.stat(folder);
  if (found?.kind === "folder") return;
  const above = folder.slice(0, Math.max(0, folder.lastIndexOf("/")));
  await makeFolders(disk, above);
  await disk.makeFolder(folder);
  await disk.syncFolder(above);
}

/** Connects again, and begins again what was under way, when the connection is lost. */
function reconnectingStorage({ path, location, connect, retryDelaysMs, pace }: Connector, first: SftpSession): Storage {
  let connection = Promise.resolve(connected(first));
  let closed = false;

  function connected(session: SftpSession): { session: SftpSession; storage: Storage } {
    const disk = sftpDisk(session, path, location);
    return { session, storage: storageOnDisk(pace === undefined ? disk : pacedDisk(disk, pace)) };
  }

  /** Of all that see a connection break, the first opens the next. */
  function replace(broken: typeof connection): void {
    if (connection !== broken) return;
    connection = openSession(connect()).then(connected);
    // Whoever uses it next is told.
    connection.catch(() => undefined);
  }

  async function persist<Result>(work: (storage: Storage) => Promise<Result>): Promise<Result> {
    for (let tries = 0; ; tries++) {
      const used = connection;
      try {
        return await work((await used).storage);
      } catch (error) {
        if (!(error instanceof ConnectionLostError) || tries === retryDelaysMs.length) throw error;
        await wait(retryDelaysMs[tries]);
        if (closed) throw error;
        replace(used);
      }
    }
  }

  /** A list that breaks off begins again, and leaves out what it gave before. */
  async function* list(prefix: string): AsyncGenerator<StoredObject> {
    const given = new Set<string>();
    let walk: { storage: Storage; objects: AsyncIterator<StoredObject> } | undefined;
    for (;;) {
      const next = await persist((storage) => {
        if (walk?.storage !== storage) walk = { storage, objects: storage.list(prefix)[Symbol.asyncIterator]() };
        return walk.objects.next();
      });
      if (next.done === true) return;
      if (given.has(next.value.name)) continue;
      given.add(next.value.name);
      yield next.value;
    }
  }

  return {
    location,
    put: (name, content) => persist((storage) => storage.put(name, content)),
    get: (name, range) => persist((storage) => storage.get(name, range)),
    list,
    stat: (name) => persist((storage) => storage.stat(name)),
    delete: (name) => persist((storage) => storage.delete(name)),
    close: async () => {
      closed = true;
      await (await connection.catch(() => undefined))?.session.end();
    },
  };
}
