/** One pull: what a host shows through rsync over ssh becomes a snapshot of it, with nothing of it on the server's disc. */
import { backupToRepository } from "../../backup/backup-to-repository.ts";
import { countingProblems, createBackupProgress, type BackupResult } from "../../backup/backup.ts";
import { previousVersions } from "../../backup/previous-versions.ts";
import { HoldfastError, RefusedError } from "../../errors.ts";
import { findAccount } from "../../fleet/accounts.ts";
import { admitBackup } from "../../fleet/admission.ts";
import { findHost, type Host } from "../../fleet/hosts.ts";
import { findPolicy } from "../../fleet/policies.ts";
import type { PullSettings } from "../../fleet/pulls.ts";
import { endRun, type RunEnd } from "../../fleet/runs.ts";
import { rawPathFromText } from "../../platform/raw-path.ts";
import type { Repository } from "../../repository/repository.ts";
import { openRemoteSource, type RemoteSource } from "../../source/rsync/index.ts";
import { runNoteOf } from "../own-objects.ts";
import { openRunLog, textOf, withOwnRepository, type AdmittedRun, type RunContext, type RunLog } from "./own-run.ts";
import { keepSigningKey, pullFile } from "./pull-files.ts";
import { pathsOf, type PullPaths } from "./pull-paths.ts";
import { pullShell } from "./pull-ssh.ts";

/** Does the run `runId` of a host, and records its end. Never rejects for what is wrong with host or repository. */
export async function pullHost(context: RunContext, hostName: string, runId: number): Promise<RunEnd> {
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

/** What a pull has at hand once it was let in. */
interface AdmittedPull extends AdmittedRun {
  readonly pull: PullSettings;
}

async function admit({ database, nowMs, measure }: RunContext, hostName: string, runId: number): Promise<AdmittedPull> {
  const host = await findHost(database, hostName);
  if (host.pull === undefined) throw new HoldfastError(`the host "${hostName}" is not pulled: its agent saves it`);
  const run = await database.selectFrom("runs").select("wanted_ms").where("id", "=", runId).executeTakeFirst();
  const isWanted = run !== undefined && run.wanted_ms !== null;
  const permit = await admitBackup(database, host, nowMs(), measure, isWanted);
  return { host, pull: host.pull, account: await findAccount(database, host.account), permit };
}

async function pull(context: RunContext, admitted: AdmittedPull, log: RunLog): Promise<RunEnd> {
  const { database, dataFolder } = context;
  const { host } = admitted;
  const policy = await findPolicy(database, host.policy);
  const paths = await pathsOf({ dataFolder, host: host.name, pull: admitted.pull, policy });
  for (const problem of paths.problems) log.say("warning", problem);
  log.say("info", `pulling ${paths.paths.join(" ")} from ${admitted.pull.login}`);
  return withOwnRepository(context, admitted, async (own) => {
    const result = await save(context, admitted, paths, own.repository, log);
    return own.recordSuccess(result, paths.problems.length);
  });
}

async function save(
  context: RunContext,
  { host, pull: settings }: AdmittedPull,
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
    onProblem: countingProblems(progress, log.problem),
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
  { database }: RunContext,
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
