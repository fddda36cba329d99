/** A server with hosts, for tests: sessions, guard and catalogue as they are, the fleet in memory. */
import { randomBytes } from "node:crypto";
import { openRemoteStorage, type RemoteStorage, type RemoteStorageOptions } from "../../src/agent/remote-storage.ts";
import { saveSource } from "../support/library-repository.ts";
import type { BackupResult } from "../../src/backup/backup.ts";
import { toWriteOnly } from "../../src/crypto/key-ring.ts";
import { generateSigningKey, type SigningKey } from "../../src/crypto/signing.ts";
import { RefusedError } from "../../src/errors.ts";
import { rawPathFromText } from "../../src/platform/raw-path.ts";
import { createRepository, openRepository, type Repository } from "../../src/repository/repository.ts";
import { createHostSessions, SESSION_RULES, type SessionObserver } from "../../src/server/host-sessions.ts";
import type { SessionRules } from "../../src/server/host-sessions.ts";
import type { Account, AdmittedHost, HostDirectory } from "../../src/server/host-directory.ts";
import { type HostSessionOptions, serveHost } from "../../src/server/host-session.ts";
import { openIncomingUploads } from "../../src/server/incoming-uploads.ts";
import { createMemoryCatalogue } from "../../src/server/memory-catalogue.ts";
import { openLocalSource } from "../../src/source/local/local-source.ts";
import { memoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { type ByteChannel, openConnection } from "../../src/wire/connection.ts";
import { channelPair } from "../../src/wire/testing/channel-pair.ts";
import type { Cleanup } from "../support/at-end.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

export interface TestHost {
  readonly name: string;
  readonly signingKey: SigningKey;
  readonly cacheFolder: string;
}

export interface TestFleet {
  readonly storage: Storage;
  /** With all keys, straight to the storage. */
  readonly owner: Repository;
  readonly account: Account;
  readonly options: HostSessionOptions;
  /** The server's clock: tests move it. */
  readonly clock: { nowMs: number };
  addHost(name: string, settings?: Partial<Pick<AdmittedHost, "mode" | "minimumIntervalMs">>): TestHost;
  /** A connection for whoever claims to be this host: sshd has proven it. */
  connect(host: string): ByteChannel;
  /** Breaks all connections. */
  cut(): void;
  readonly faults: unknown[];
}

export interface TestFleetSettings {
  readonly storage?: Storage;
  readonly account?: Partial<Account>;
  readonly rules?: Partial<SessionRules>;
  readonly session?: Partial<HostSessionOptions>;
  readonly observer?: SessionObserver;
  /** Of the line, each way. */
  readonly delayMs?: number;
}

export async function createTestFleet(t: Cleanup, settings: TestFleetSettings = {}): Promise<TestFleet> {
  const storage = settings.storage ?? memoryStorage();
  const owner = await createRepository(storage, {
    passphrase: "correct horse battery staple",
    label: "",
    workFactorLog2: 1,
    now: new Date(),
  });
  const account: Account = {
    storage,
    repositoryId: owner.config.id,
    indexKey: owner.ring.indexKey,
    catalogue: createMemoryCatalogue(),
    ticketKey: randomBytes(32),
    admit: async () => () => undefined,
    ...settings.account,
  };
  const hosts = new Map<string, AdmittedHost>();
  const directory: HostDirectory = {
    async admitHost(name) {
      const host = hosts.get(name);
      if (host === undefined) throw new RefusedError(`there is no host ${name}`);
      return host;
    },
  };
  const clock = { nowMs: Date.now() };
  const faults: unknown[] = [];
  const options: HostSessionOptions = {
    directory,
    sessions: createHostSessions({ ...SESSION_RULES, ...settings.rules }, settings.observer, () => clock.nowMs),
    uploads: await openIncomingUploads(temporaryFolder(t)),
    program: "test server",
    onFault: (error) => faults.push(error),
    ...settings.session,
  };
  const cuts = new Set<() => void>();
  return {
    storage,
    owner,
    account,
    options,
    clock,
    faults,
    addHost(name, { mode = "full", minimumIntervalMs = 0 } = {}) {
      const signingKey = generateSigningKey();
      hosts.set(name, { name, mode, minimumIntervalMs, account, signingKeys: [signingKey.publicKey] });
      return { name, signingKey, cacheFolder: temporaryFolder(t) };
    },
    connect(host) {
      const { agent, server, cut } = channelPair(settings.delayMs);
      cuts.add(cut);
      void serveHost(openConnection(server), host, options);
      return agent;
    },
    cut() {
      for (const cut of cuts) cut();
      cuts.clear();
    },
  };
}

export interface TestRun {
  readonly result: BackupResult;
  readonly remote: RemoteStorage;
}

/** A whole run of an agent: connects, saves the folder, and says goodbye. */
export async function runBackup(
  fleet: Pick<TestFleet, "connect" | "owner">,
  host: TestHost,
  folder: string,
  more: Partial<RemoteStorageOptions> = {},
): Promise<TestRun> {
  const remote = await openRemoteStorage({
    connect: () => fleet.connect(host.name),
    location: "server",
    purpose: "backup",
    program: "test agent",
    cacheFolder: host.cacheFolder,
    retryDelaysMs: [20, 20, 20],
    ...more,
  });
  const problems: unknown[] = [];
  const source = openLocalSource({ paths: [rawPathFromText(folder)], onProblem: ({ error }) => problems.push(error) });
  try {
    const repository = await openRepository(remote, { ring: toWriteOnly(fleet.owner.ring) });
    const result = await saveSource(repository, source, {
      paths: [rawPathFromText(folder)],
      host: host.name,
      signingKey: host.signingKey,
      compression: "auto",
      startedMs: remote.server.startedMs,
      cacheDirectory: host.cacheFolder,
      onProblem: ({ error }) => problems.push(error),
    });
    if (problems.length > 0) throw new AggregateError(problems, "the folder could not be read");
    return { result, remote };
  } finally {
    await source.close();
    await remote.close();
  }
}
