/** One backup of this host to its server. */
import { readFileSync } from "node:fs";
import type { BackupProgress, BackupResult } from "../backup/backup.ts";
import { backupToRepository } from "../backup/backup-to-repository.ts";
import { messageOf } from "../errors.ts";
import { mounts } from "../platform/mounts.ts";
import { makeFolder } from "../platform/make-folder.ts";
import { rawPathFromText, type RawPath } from "../platform/raw-path.ts";
import { openRepository, type Repository } from "../repository/repository.ts";
import type { ReportProblem } from "../source/source.ts";
import { openLocalSource, type LocalSourceOptions } from "../source/local/local-source.ts";
import type { SessionPurpose } from "../wire/hello.ts";
import { planMounts, swapFiles, type Plan } from "./plan.ts";
import { openRemoteStorage, type RemoteStorage, type RemoteStorageOptions } from "./remote-storage.ts";
import { keepLastRun } from "./last-run.ts";
import { agentFile, applyPolicy, ownExcludes, readAgent, serverName, type Agent, type AgentSettings } from "./state.ts";

export interface AgentRunOptions {
  readonly folder: string;
  /** Name and version. */
  readonly program: string;
  readonly user: string;
  readonly onProblem: ReportProblem;
  readonly progress?: BackupProgress | undefined;
  readonly onRetry?: RemoteStorageOptions["onRetry"];
  readonly retryDelaysMs?: readonly number[] | undefined;
  /** Where these are not given, the policy's count. */
  readonly uploadBytesPerSecond?: number | undefined;
  readonly downloadBytesPerSecond?: number | undefined;
  /** The server has told a policy that is another than the one known. */
  readonly onPolicy?: (() => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface AgentRunResult extends BackupResult {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** Saves what the policy says. What came of it is kept for `agent status`. */
export async function runAgent(options: AgentRunOptions): Promise<AgentRunResult> {
  const startedMs = Date.now();
  const agent = readAgent(options.folder);
  makeFolder(agentFile.cache(options.folder));
  const keep = (snapshot: string | undefined, error: string | undefined): void =>
    keepLastRun(options.folder, { startedMs, endedMs: Date.now(), snapshot, error });
  try {
    const result = await save(agent, options);
    keep(result.snapshotId, undefined);
    return result;
  } catch (error) {
    keep(undefined, messageOf(error));
    throw error;
  }
}

async function save(agent: Agent, options: AgentRunOptions): Promise<AgentRunResult> {
  const { folder, signal } = options;
  const { repository, remote } = await openThroughServer(agent, { ...options, purpose: "backup" });
  try {
    const settings = applyPolicy(folder, agent.settings, remote.server.policy);
    if (settings !== agent.settings) options.onPolicy?.();
    const { paths, source: sourceOptions } = sourcesOf(settings, folder);
    const source = openLocalSource({ ...sourceOptions, onProblem: options.onProblem });
    try {
      const result = await backupToRepository({
        repository,
        source,
        paths,
        host: remote.server.host,
        tags: [],
        user: options.user,
        program: options.program,
        excludes: sourceOptions.excludes ?? [],
        signingKey: agent.signingKey,
        compression: "auto",
        // The server's clock: it takes no snapshot of another time.
        startedMs: remote.server.startedMs,
        cacheDirectory: agentFile.cache(folder),
        onProblem: options.onProblem,
        progress: options.progress,
        signal,
      });
      const { sentBytes, receivedBytes } = remote.traffic;
      return { ...result, sentBytes, receivedBytes };
    } finally {
      await source.close();
    }
  } finally {
    await remote.close();
  }
}

export interface ThroughServer {
  readonly repository: Repository;
  readonly remote: RemoteStorage;
}

/** The repository as the server lets this host see it. */
export async function openThroughServer(
  agent: Agent,
  options: Pick<
    AgentRunOptions,
    "folder" | "program" | "onRetry" | "retryDelaysMs" | "uploadBytesPerSecond" | "downloadBytesPerSecond" | "signal"
  > & {
    readonly purpose: SessionPurpose;
  },
): Promise<ThroughServer> {
  const { folder, ...rest } = options;
  const { policy } = agent.settings;
  const remote = await openRemoteStorage({
    ...rest,
    uploadBytesPerSecond: options.uploadBytesPerSecond ?? policy.uploadBytesPerSecond,
    downloadBytesPerSecond: options.downloadBytesPerSecond ?? policy.downloadBytesPerSecond,
    connect: agent.connect,
    location: serverName(agent.settings.server),
    cacheFolder: agentFile.cache(folder),
  });
  try {
    return { remote, repository: await openRepository(remote, { ring: agent.ring }) };
  } catch (error) {
    await remote.close();
    throw error;
  }
}

interface AgentSources {
  /** What the snapshot says it holds: of the default plan always the same, whatever is mounted. */
  readonly paths: readonly RawPath[];
  readonly source: Omit<LocalSourceOptions, "onProblem">;
}

export function sourcesOf({ policy }: Pick<AgentSettings, "policy">, folder: string): AgentSources {
  const excludeFolders = [rawPathFromText(agentFile.cache(folder))];
  // The last that matches counts: what this host keeps to itself no pattern of the server's brings in again.
  const own = ownExcludes(folder);
  if (policy.sources.length > 0) {
    const paths = policy.sources.map(rawPathFromText).toSorted();
    return { paths, source: { paths, excludes: [...policy.excludes, ...own], excludeFolders, excludeCaches: true } };
  }
  const { roots, excludes } = currentPlan();
  return {
    paths: ["/" as RawPath],
    source: {
      paths: roots,
      excludes: [...excludes, ...policy.excludes, ...own],
      excludeFolders,
      excludeCaches: true,
      oneFileSystem: true,
    },
  };
}

/** The default plan for this machine as it is now. */
export function currentPlan(): Plan {
  return planMounts(mounts(), swapFiles(readSwaps()));
}

function readSwaps(): string {
  try {
    return readFileSync("/proc/swaps", "utf8");
  } catch {
    // A kernel without swap has no such file.
    return "";
  }
}
