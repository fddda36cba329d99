/** The server: one process that everything goes through, put together from its parts. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import { messageOf } from "../errors.ts";
import {
  createAccount,
  DEFAULT_ACCOUNT_NAME,
  listAccounts,
  openAccountRepository,
  type Account,
} from "../fleet/accounts.ts";
import { rebuildFromDataFolder } from "../fleet/adopt.ts";
import { writeAuthorizedKeys } from "../fleet/authorized-keys.ts";
import { syncCatalogue } from "../fleet/catalogue.ts";
import { dataFile } from "../fleet/data-folder.ts";
import { openDatabase, type Database } from "../fleet/database/open.ts";
import { DEFAULT_POLICY, DEFAULT_POLICY_NAME } from "../fleet/policies.ts";
import { endInterruptedRuns } from "../fleet/runs.ts";
import { saveAllSettings } from "../fleet/saved-settings.ts";
import { makeFolder } from "../platform/make-folder.ts";
import type { Repository } from "../repository/repository.ts";
import { listSnapshots } from "../repository/snapshots.ts";
import { shellQuoted } from "../platform/shell-quoted.ts";
import { listenForApi } from "./api.ts";
import type { Configuration } from "./configuration.ts";
import { lockDataFolder } from "./data-folder-lock.ts";
import { createFleetCatalogue } from "./fleet-catalogue.ts";
import { createFleetDirectory } from "./fleet-directory.ts";
import { createHistoryTrimmer } from "./history-trimmer.ts";
import { listenForHosts } from "./host-listener.ts";
import { createHostSessions } from "./host-sessions.ts";
import { openIncomingUploads } from "./incoming-uploads.ts";
import type { Log } from "./log.ts";
import { endInterruptedJobs } from "./maintenance-jobs.ts";
import { createPulls } from "./pulls/pulls.ts";
import { reconcileOwnership } from "./reconcile-ownership.ts";
import { createScheduler, performInProcess } from "./scheduler.ts";
import { createSpaceReserve } from "./space-reserve.ts";
import { createVerifyPool } from "./verify-pool.ts";

export interface ServerOptions {
  readonly dataFolder: string;
  readonly configuration: Configuration;
  /** Name and version. */
  readonly program: string;
  /** Full path of the program that hosts' logins run. */
  readonly programFile: string;
  readonly log: Log;
  readonly nowMs?: () => number;
  /** Told of the recovery key of an account that was made, and never again. */
  readonly onRecoveryIdentity: (account: string, identity: string) => void;
}

export interface RunningServer {
  readonly apiSocket: string;
  readonly hostSocket: string;
  /** Lets nobody in any more, waits for what is under way as far as it must, and puts everything down. */
  close(): Promise<void>;
}

const TICK_MS = 60_000;

/** Starts a server on a data folder, which is made where it is not there. Throws `LockedError` where one works on it. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { dataFolder, log, nowMs = Date.now } = options;
  makeFolder(dataFolder);
  const lock = lockDataFolder(dataFolder);
  const closers: (() => unknown)[] = [() => lock.release()];
  async function close(): Promise<void> {
    for (const step of closers.splice(0).toReversed()) await step();
  }
  try {
    return { ...(await startParts(options, nowMs, closers)), close };
  } catch (error) {
    log("error", `the server could not start: ${messageOf(error)}`);
    await close();
    throw error;
  }
}

async function startParts(
  options: ServerOptions,
  nowMs: () => number,
  closers: (() => unknown)[],
): Promise<Omit<RunningServer, "close">> {
  const { dataFolder, configuration, log } = options;
  const reserve = createSpaceReserve(dataFile.reserve(dataFolder), log);
  // Before anything else: on a full disc not even the database could be opened.
  reserve.keep();
  const { database, damaged } = openDatabase(dataFile.database(dataFolder), nowMs());
  closers.push(() => database.destroy());
  if (damaged !== undefined) {
    log("error", `the database was damaged (${damaged.problem}): it is made anew, and the damaged one kept`, damaged);
  }
  const repositories = createRepositories(dataFolder);
  closers.push(() => repositories.close());
  await prepareState(options, database, repositories.of, nowMs);

  const troubles = new Map<string, string>();
  const settingsChanged = async (): Promise<void> => {
    await writeAuthorizedKeys(database, authorizedKeysOptions(options), nowMs());
    const failed = await saveAllSettings(database, repositories.of, new Date(nowMs()));
    troubles.clear();
    for (const [account, error] of failed) {
      troubles.set(account, `its repository cannot be reached: ${messageOf(error)}`);
      log("error", `the settings could not be saved in the repository: ${messageOf(error)}`, { account });
    }
  };
  await settingsChanged();

  const verifyPool = createVerifyPool();
  closers.push(() => verifyPool.close());
  const directory = createFleetDirectory({
    database,
    dataFolder,
    repositoryOf: repositories.of,
    verifyPool,
    nowMs,
    log,
  });
  closers.push(() => directory.settled());
  const { maintenance } = configuration;
  const pulls = createPulls({
    database,
    dataFolder: path.resolve(dataFolder),
    program: options.program,
    atOnce: configuration.pulls.at_once,
    longestMs: configuration.pulls.longest_hours * 3_600_000,
    nowMs,
    log,
  });
  closers.push(() => pulls.close());
  const scheduler = createScheduler({
    database,
    settings: {
      retentionHours: maintenance.retention_hours,
      checkDays: maintenance.check_days,
      drillDays: maintenance.drill_days,
    },
    nowMs,
    runningBackups: (account) => directory.runningBackups(account) + pulls.running(account),
    perform: (job, signal) => {
      reserve.keep();
      return performInProcess(dataFolder, job, signal, log);
    },
    log,
  });
  closers.push(() => scheduler.close());

  const sessions = createHostSessions(undefined, directory.observer, nowMs);
  closers.push(() => sessions.close());
  const hosts = await listenForHosts({
    socketPath: dataFile.hostSocket(dataFolder),
    directory,
    sessions,
    uploads: await openIncomingUploads(dataFile.incoming(dataFolder)),
    program: options.program,
    onFault: (error) => {
      reserve.keep();
      directory.observer.fault?.("", error);
    },
    onConnection: (host, from, refused) => log("info", refused ?? "a host connects", { host, from }),
  });
  closers.push(() => hosts.close());

  const api = await listenForApi(
    dataFile.apiSocket(dataFolder),
    {
      database,
      dataFolder,
      nowMs,
      repositoryOf: repositories.of,
      settingsChanged,
      startPull: (host) => pulls.start(host),
      requestMaintenance: (job) => void scheduler.request(job),
      troubles: () => troubles,
      sshHostKeys,
      sshUser: () => (authorizedKeysCount(options) ? userInfo().username : undefined),
    },
    log,
  );
  closers.push(() => api.close());

  const trimHistory = createHistoryTrimmer(database, configuration.history, nowMs, log);
  const everyMinute = (): void => {
    reserve.keep();
    if (maintenance.enabled) void scheduler.tick();
    if (maintenance.enabled) void trimHistory();
    if (configuration.pulls.enabled) void pulls.tick().catch((error: unknown) => log("error", messageOf(error)));
    if (troubles.size > 0) void settingsChanged().catch((error: unknown) => log("error", messageOf(error)));
  };
  const timer = setInterval(everyMinute, TICK_MS);
  closers.push(() => clearInterval(timer));
  if (configuration.ssh.authorized_keys === undefined && !authorizedKeysCount(options)) {
    const { username, homedir } = userInfo();
    log("info", "hosts cannot come over ssh: sshd does not look for their keys where they are", {
      file: dataFile.authorizedKeys(dataFolder),
      hint: `for the user ${username} it looks in ${homedir}: see [ssh] authorized_keys, or "holdfast server install"`,
    });
  }
  log("info", "the server runs", { dataFolder, process: process.pid });
  return { apiSocket: dataFile.apiSocket(dataFolder), hostSocket: dataFile.hostSocket(dataFolder) };
}

/** Sets right what the last end of the server, however it came, and a lost database have left. */
async function prepareState(
  options: ServerOptions,
  database: Database,
  repositoryOf: (account: Account) => Promise<Repository>,
  nowMs: () => number,
): Promise<void> {
  const { dataFolder, log } = options;
  rmSync(dataFile.scratch(dataFolder), { recursive: true, force: true });
  await endInterruptedRuns(database, nowMs());
  await endInterruptedJobs(database, nowMs());
  await database
    .insertInto("policies")
    .values({ name: DEFAULT_POLICY_NAME, settings: JSON.stringify(DEFAULT_POLICY) })
    .onConflict((conflict) => conflict.doNothing())
    .execute();

  const rebuilt = new Set<string>();
  for (const { name, adoption, problem } of await rebuildFromDataFolder(database, dataFolder, new Date(nowMs()))) {
    if (adoption === undefined) {
      log("error", `the account "${name}" could not be brought back: ${problem}`);
      continue;
    }
    rebuilt.add(name);
    const { hosts, snapshots } = adoption;
    log("warning", `the account "${name}" was brought back from its repository`, { hosts: hosts.length, snapshots });
  }
  if (!existsSync(dataFile.accounts(dataFolder))) {
    const wanted = { name: DEFAULT_ACCOUNT_NAME, storageUrl: undefined, keyMode: "server", quota: {} } as const;
    const { account, recoveryIdentity } = await createAccount(database, dataFolder, wanted, new Date(nowMs()));
    options.onRecoveryIdentity(account.name, recoveryIdentity);
  }
  for (const account of await listAccounts(database)) {
    try {
      const repository = await repositoryOf(account);
      // A snapshot may have been stored in the moment before the end, and not yet have been noted.
      const { added } = await syncCatalogue(database, account.id, repository);
      if (added === 0 && !rebuilt.has(account.name)) continue;
      const catalogue = createFleetCatalogue(database, account.id, async () => undefined);
      const snapshots = await listSnapshots(repository, () => undefined);
      await reconcileOwnership(database, account.id, repository.storage, catalogue, snapshots);
    } catch (error) {
      log("error", `the repository of the account "${account.name}" cannot be used: ${messageOf(error)}`);
    }
  }
}

interface Repositories {
  readonly of: (account: Account) => Promise<Repository>;
  close(): Promise<void>;
}

/** One open repository for each account; one that could not be opened is tried again when it is asked for. */
function createRepositories(dataFolder: string): Repositories {
  const open = new Map<string, Promise<Repository>>();
  return {
    of(account) {
      let repository = open.get(account.name);
      if (repository === undefined) {
        repository = openAccountRepository(dataFolder, account);
        open.set(account.name, repository);
        repository.catch(() => open.delete(account.name));
      }
      return repository;
    },
    async close() {
      for (const repository of open.values())
        await repository.then(({ storage }) => storage.close()).catch(() => undefined);
    },
  };
}

function authorizedKeysOptions({ dataFolder, configuration, programFile }: ServerOptions) {
  const program = shellQuoted(configuration.ssh.program ?? programFile);
  const data = shellQuoted(path.resolve(dataFolder));
  const socket = shellQuoted(path.resolve(dataFile.hostSocket(dataFolder)));
  return {
    file: configuration.ssh.authorized_keys ?? dataFile.authorizedKeys(dataFolder),
    serveCommand: (host: string) => `${program} serve --host ${host} --socket ${socket}`,
    enrolCommand: (host: string) => `${program} enrol --data ${data} --host ${host} --with-token`,
  };
}

/** Whether sshd, left as it is, looks for keys where this server writes them. */
function authorizedKeysCount(options: ServerOptions): boolean {
  return path.resolve(authorizedKeysOptions(options).file) === path.join(userInfo().homedir, ".ssh/authorized_keys");
}

/** The machine's own SSH host keys, which everybody may read. */
function sshHostKeys(): string[] {
  const folder = "/etc/ssh";
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => /^ssh_host_[a-z0-9]+_key\.pub$/.test(name))
    .flatMap((name) => {
      try {
        return [readFileSync(path.join(folder, name), "utf8").trim().split(" ").slice(0, 2).join(" ")];
      } catch {
        return [];
      }
    });
}
