/**
 * The door for a stock rsync at a host's key: `rsync -aHAX / backup@server:` makes a snapshot of that host, and
 * `rsync -aHAX backup@server:latest/etc/ etc/` fetches from its own. In the process that sshd starts for the connection.
 */
import { savePush } from "../../backup/save-push.ts";
import type { BackupResult } from "../../backup/backup.ts";
import { repositoryShelf } from "../../browse/rsync/repository-shelf.ts";
import { serveFetch } from "../../browse/rsync/serve-fetch.ts";
import { BusyError, HoldfastError, RefusedError } from "../../errors.ts";
import { findAccount } from "../../fleet/accounts.ts";
import { admitBackup } from "../../fleet/admission.ts";
import { findHost, type Host } from "../../fleet/hosts.ts";
import { beginRun, endRun, noteRefusal, type RunEnd } from "../../fleet/runs.ts";
import type { Repository } from "../../repository/repository.ts";
import { isDryRun, type ServerTransport } from "../../source/rsync/index.ts";
import { runNoteOf } from "../own-objects.ts";
import {
  openRunLog,
  textOf,
  withOwnRepository,
  type AdmittedRun,
  type OwnRepository,
  type RunContext,
} from "./own-run.ts";
import { lockHost, type HostLock } from "./host-lock.ts";
import { keepSigningKey, pullFile } from "./pull-files.ts";

/** How long one waits for another of the same host to end. */
const LOCK_MS = 5000;
const NO_ROOM_NEEDED = { allowedBytes: 0, limitedBy: "free space", usualLimitBytes: 0 } as const;

/**
 * Resolves with the exit status for the process that stands in for `rsync --server`. Throws `HoldfastError` where the host
 * is not let in: that is for the one at the other end to see.
 */
export async function serveRsyncDoor(
  context: RunContext,
  hostName: string,
  command: string,
  transport: ServerTransport,
): Promise<number> {
  return isFetch(command) ? fetch(context, hostName, command, transport) : push(context, hostName, command, transport);
}

const isFetch = (command: string): boolean => /^\S+ --server --sender /.test(command);

async function fetch(context: RunContext, hostName: string, command: string, transport: ServerTransport) {
  const { database } = context;
  const host = await findHost(database, hostName);
  const account = await findAccount(database, host.account);
  if (host.state !== "active") throw new RefusedError(`the host "${hostName}" is ${host.state}`);
  if (host.keyMode === "write-only") throw new RefusedError(`the host "${hostName}" may store, and read nothing`);
  if (account.keyMode !== "server") {
    throw new RefusedError("the server cannot read what is stored", { hint: "restore with the owner's key" });
  }
  const lock = lockFetch(context.dataFolder, hostName);
  try {
    return await withOwnRepository(context, { host, account, permit: NO_ROOM_NEEDED }, ({ repository }) =>
      serveFetch(transport, command, repositoryShelf(repository, { hosts: [hostName] })),
    );
  } finally {
    lock.release();
  }
}

/** Each takes a process with some memory: a host may have two. */
function lockFetch(dataFolder: string, host: string): HostLock {
  try {
    return lockHost(dataFolder, host, 0, "fetch-1");
  } catch (error) {
    if (!(error instanceof BusyError)) throw error;
    return lockHost(dataFolder, host, LOCK_MS, "fetch-2");
  }
}

async function push(context: RunContext, hostName: string, command: string, transport: ServerTransport) {
  const { database, nowMs, measure } = context;
  const host = await findHost(database, hostName);
  const account = await findAccount(database, host.account);
  // That somebody looks what would be sent does no harm, however soon it is.
  const onlyLooks = isDryRun(command);
  let admitted: AdmittedRun;
  try {
    admitted = { host, account, permit: await admitBackup(database, host, nowMs(), measure, onlyLooks) };
  } catch (error) {
    if (error instanceof RefusedError) await noteRefusal(database, host.id, textOf(error), nowMs());
    throw error;
  }
  const lock = lockHost(context.dataFolder, hostName, LOCK_MS);
  try {
    if (!hasAgent(context, host)) await endBrokenRuns(context, host);
    return await withOwnRepository(context, admitted, (own) => {
      const allowed = onlyLooks ? storingNothing(own) : own;
      return save(context, admitted, allowed, command, transport);
    });
  } finally {
    lock.release();
  }
}

function storingNothing(own: OwnRepository): OwnRepository {
  const put = (): Promise<never> => Promise.reject(new RefusedError("a dry run stores nothing"));
  return { ...own, repository: { ...own.repository, storage: { ...own.repository.storage, put } } };
}

/** Of a host without an agent, the server itself made the key that signs. */
function hasAgent({ dataFolder }: RunContext, { name, keys }: Host): boolean {
  return keys?.signingKey !== keepSigningKey(dataFolder, name).publicKey.toString("base64");
}

/** With the lock in hand nothing of this host is under way: whatever seems to be was killed. */
async function endBrokenRuns({ database, nowMs }: RunContext, { id }: Host): Promise<void> {
  await database
    .updateTable("runs")
    .set({ state: "failed", ended_ms: nowMs(), error: "the connection broke, and what served it was killed" })
    .where("host_id", "=", id)
    .where("state", "=", "running")
    .execute();
}

async function save(
  context: RunContext,
  { host }: AdmittedRun,
  own: OwnRepository,
  command: string,
  transport: ServerTransport,
): Promise<number> {
  const { database, dataFolder, nowMs } = context;
  // Not before something is stored: a dry run, or one that is refused for its options, is none.
  let runId: Promise<number> | undefined;
  const begun = (): Promise<number> => (runId ??= beginRun(database, host.id, nowMs()));
  const problems: Parameters<ReturnType<typeof openRunLog>["problem"]>[0][] = [];
  let failure: unknown;
  let saved: BackupResult | undefined;
  const repository: Repository = {
    ...own.repository,
    storage: {
      ...own.repository.storage,
      async put(name, content) {
        await begun();
        try {
          return await own.repository.storage.put(name, content);
        } catch (error) {
          failure ??= error;
          throw error;
        }
      },
    },
  };
  const exitCode = await savePush({
    transport,
    command,
    repository,
    host: host.name,
    tags: [],
    user: host.name,
    program: context.program,
    signingKey: keepSigningKey(dataFolder, host.name),
    compression: "auto",
    startedMs: nowMs(),
    cacheDirectory: pullFile.cache(dataFolder),
    noteAs: runNoteOf(host.name),
    onProblem: (problem) => void problems.push(problem),
    onSnapshot: (result) => (saved = result),
    signal: context.signal,
  });
  if (runId === undefined) return exitCode;
  const log = openRunLog(context, await runId);
  log.say("info", "a push by rsync");
  for (const problem of problems) log.problem(problem);
  await log.settled();
  await endRun(database, await runId, await endOf(own, saved, problems.length, exitCode, failure), nowMs());
  return exitCode;
}

async function endOf(
  own: OwnRepository,
  saved: BackupResult | undefined,
  problems: number,
  exitCode: number,
  failure: unknown,
): Promise<RunEnd> {
  if (saved !== undefined) return own.recordSuccess(saved, problems);
  const state = failure instanceof RefusedError ? "refused" : "failed";
  const error =
    failure instanceof HoldfastError ? textOf(failure) : `rsync ended with ${exitCode} before it had sent everything`;
  return { state, storedBytes: own.storedBytes(), error };
}
