/** One pull: what a host shows through rsync over ssh becomes a snapshot of it, with nothing of it on the server's disc. */
import { backupToRepository } from "../../backup/backup-to-repository.ts";
import { createBackupProgress, type BackupResult } from "../../backup/backup.ts";
import { previousVersions } from "../../backup/previous-versions.ts";
import { HoldfastError, messageOf, RefusedError } from "../../errors.ts";
import { discSpace, findAccount, openAccountRepository, type Account } from "../../fleet/accounts.ts";
import { admitBackup, type MeasureSpace, type Permit } from "../../fleet/admission.ts";
import { noteSnapshot } from "../../fleet/catalogue.ts";
import type { Database } from "../../fleet/database/open.ts";
import { findHost, listHosts, type Host } from "../../fleet/hosts.ts";
import { findPolicy } from "../../fleet/policies.ts";
import type { PullSettings } from "../../fleet/pulls.ts";
import { endRun, logRun, type LogLine, type RunEnd } from "../../fleet/runs.ts";
import { displayPath, rawPathFromText } from "../../platform/raw-path.ts";
import type { Repository } from "../../repository/repository.ts";
import { readSnapshot } from "../../repository/snapshots.ts";
import { openRemoteSource, type RemoteSource } from "../../source/rsync/index.ts";
import type { SourceProblem } from "../../source/source.ts";
import { createFleetCatalogue } from "../fleet-catalogue.ts";
import { objectsOf, runNoteOf } from "../own-objects.ts";
import { meteredStorage, type MeteredStorage } from "./metered-storage.ts";
import { keepSigningKey, pullFile } from "./pull-files.ts";
import { pathsOf, type PullPaths } from "./pull-paths.ts";
import { pullShell } from "./pull-ssh.ts";

export interface PullContext {
  readonly database: Database;
  readonly dataFolder: string;
  readonly nowMs: () => number;
  /** Name and version. */
  readonly program: string;
  readonly measure?: MeasureSpace;
  readonly signal?: AbortSignal | undefined;
}

/** So many files that could not be read are named in a run's log. */
const MOST_NAMED_PROBLEMS = 1000;

/** Does the run `runId` of a host, and records its end. Never rejects for what is wrong with host or repository. */
export async function pullHost(context: PullContext, hostName: string, runId: number): Promise<RunEnd> {
  const { database, nowMs } = context;
  const log = openRunLog(context, runId);
  let end: RunEnd;
  try {
    end = await pull(context, await admit(context, hostName, runId), log);
  } catch (error) {
    const stopped = context.signal?.aborted === true;
    end = {
      state: error instanceof RefusedError ? "refused" : "failed",
      error: stopped
        ? "the server was stopped while the run was under way; the next goes on from there"
        : textOf(error),
    };
  }
  await log.settled();
  await endRun(database, runId, end, nowMs());
  return end;
}

function textOf(error: unknown): string {
  const hint = error instanceof HoldfastError && error.hint !== undefined ? ` (${error.hint})` : "";
  return messageOf(error) + hint;
}

interface RunLog {
  readonly say: (level: LogLine["level"], message: string) => void;
  readonly problem: (problem: SourceProblem) => void;
  settled(): Promise<void>;
}

function openRunLog({ database, nowMs }: PullContext, runId: number): RunLog {
  let written: Promise<unknown> = Promise.resolve();
  let problems = 0;
  const say: RunLog["say"] = (level, message) => {
    const atMs = nowMs();
    written = written.then(() => logRun(database, runId, level, message, atMs)).catch(() => undefined);
  };
  return {
    say,
    problem({ path, during, error }) {
      if (++problems <= MOST_NAMED_PROBLEMS) say("warning", `${during} /${displayPath(path)}: ${messageOf(error)}`);
    },
    async settled() {
      if (problems > MOST_NAMED_PROBLEMS) say("warning", `and ${problems - MOST_NAMED_PROBLEMS} more`);
      await written;
    },
  };
}

/** What a pull has at hand once it was let in. */
interface Admitted {
  readonly host: Host;
  readonly pull: PullSettings;
  readonly account: Account;
  readonly permit: Permit;
}

async function admit({ database, nowMs, measure }: PullContext, hostName: string, runId: number): Promise<Admitted> {
  const host = await findHost(database, hostName);
  if (host.pull === undefined) throw new HoldfastError(`the host "${hostName}" is not pulled: its agent saves it`);
  const run = await database.selectFrom("runs").select("wanted_ms").where("id", "=", runId).executeTakeFirst();
  const isWanted = run !== undefined && run.wanted_ms !== null;
  const permit = await admitBackup(database, host, nowMs(), measure, isWanted);
  return { host, pull: host.pull, account: await findAccount(database, host.account), permit };
}

async function pull(context: PullContext, admitted: Admitted, log: RunLog): Promise<RunEnd> {
  const { database, dataFolder, measure = discSpace } = context;
  const { host, account, permit } = admitted;
  const policy = await findPolicy(database, host.policy);
  const paths = await pathsOf({ dataFolder, host: host.name, pull: admitted.pull, policy });
  for (const problem of paths.problems) log.say("warning", problem);
  log.say("info", `pulling ${paths.paths.join(" ")} from ${admitted.pull.login}`);
  const whole = await openAccountRepository(dataFolder, account);
  try {
    // As if it held this host's objects alone, so that each host can be pruned by itself.
    const catalogue = createFleetCatalogue(database, account.id, async () => undefined);
    const hosts = (await listHosts(database)).filter(({ accountId }) => accountId === account.id);
    const others = new Set(hosts.map(({ name }) => name).filter((name) => name !== host.name));
    const own = objectsOf(whole.storage, catalogue, host.name, others);
    const storage = meteredStorage(own, { host, account, permit, measure });
    const result = await save(context, admitted, paths, { ...whole, storage }, log);
    await noteSnapshot(database, account.id, await readSnapshot(whole, result.snapshotId));
    return await recordSuccess(context, admitted, result, storage, paths.problems.length);
  } finally {
    await whole.storage.close();
  }
}

async function save(
  context: PullContext,
  { host, pull: settings }: Admitted,
  { paths, excludes }: PullPaths,
  repository: Repository,
  log: RunLog,
): Promise<BackupResult> {
  const { dataFolder, signal } = context;
  const previous = previousVersions();
  const startedMs = context.nowMs();
  const progress = createBackupProgress();
  const opening = openRemoteSource({
    places: { login: settings.login, host: host.name, wanted: paths, paths: paths.map(rawPathFromText) },
    shell: pullShell({ dataFolder, host: host.name, pull: settings }),
    excludes,
    excludesIgnoringCase: [],
    excludeLargerThanBytes: undefined,
    oneFileSystem: false,
    compress: false,
    profile: settings.form === "plain" ? "plain" : undefined,
    previous: previous.content,
    onProblem: (problem) => {
      progress.problems++;
      log.problem(problem);
    },
  });
  const source = await unlessStopped(opening, signal);
  // A host that sends nothing more must not hold up whoever stops the server.
  const letGo = (): void => void source.close();
  signal?.addEventListener("abort", letGo, { once: true });
  try {
    await keepForm(context, host, settings, source, log);
    const result = await backupToRepository({
      repository,
      source,
      paths: paths.map(rawPathFromText),
      host: host.name,
      tags: [],
      user: settings.login,
      program: context.program,
      excludes,
      signingKey: keepSigningKey(dataFolder, host.name),
      compression: "auto",
      startedMs,
      cacheDirectory: pullFile.cache(dataFolder),
      resumes: true,
      noteAs: runNoteOf(host.name),
      onProblem: log.problem,
      onParent: (parent) => {
        if (parent !== undefined) previous.setParent(repository, parent);
      },
      onWarning: (message) => log.say("warning", message),
      progress,
      signal,
    });
    const { receivedBytes, sentBytes } = source.traffic();
    log.say("info", `${receivedBytes} bytes came, ${sentBytes} were sent`);
    return result;
  } finally {
    signal?.removeEventListener("abort", letGo);
    await source.close();
  }
}

/** Does not wait for what is being opened when it is no longer wanted: it goes with the process. */
async function unlessStopped(opening: Promise<RemoteSource>, signal: AbortSignal | undefined): Promise<RemoteSource> {
  if (signal === undefined) return opening;
  let stop: () => void = () => undefined;
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
  });
  try {
    return await Promise.race([opening, stopped]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** What a forced command lets through is asked for at once next time, and said once. */
async function keepForm(
  { database }: PullContext,
  host: Host,
  settings: PullSettings,
  { profile }: RemoteSource,
  log: RunLog,
): Promise<void> {
  if (profile === settings.form) return;
  await database.updateTable("pulls").set({ form: profile }).where("host_id", "=", host.id).execute();
  if (profile === "plain") {
    log.say(
      "warning",
      "its forced command allows the plainest rsync only: hard links, ACLs and attributes are not saved",
    );
  }
}

async function recordSuccess(
  { database }: PullContext,
  { host, permit }: Admitted,
  result: BackupResult,
  storage: MeteredStorage,
  pathProblems: number,
): Promise<RunEnd> {
  const storedBytes = storage.storedBytes();
  await database
    .updateTable("hosts")
    .set((row) => ({ used_bytes: row("used_bytes", "+", storedBytes) }))
    .where("id", "=", host.id)
    .execute();
  return {
    state: result.problems + pathProblems > 0 ? "incomplete" : "succeeded",
    snapshot: result.snapshotId,
    files: result.totalFiles,
    sizeBytes: result.totalBytes,
    addedBytes: result.addedBytes,
    storedBytes,
    suddenGrowth: storedBytes > permit.usualLimitBytes,
  };
}
