/** The work of a pull: speaks with the rsync that was started on the host, and saves what it sends. */
import { backupToRepository } from "../../backup/backup-to-repository.ts";
import { countingProblems, createBackupProgress } from "../../backup/backup.ts";
import { previousVersions } from "../../backup/previous-versions.ts";
import type { RunEnd } from "../../fleet/runs.ts";
import { rawPathFromText } from "../../platform/raw-path.ts";
import { deferredSource, openRemoteSource, type RemoteShell, type RemoteSource } from "../../source/rsync/index.ts";
import type { RemoteProcess } from "../../source/rsync/remote-process.ts";
import { runNoteOf } from "../own-objects.ts";
import { withOwnRepository, type RunContext, type RunLog } from "./own-run.ts";
import { keepSigningKey, pullFile } from "./pull-files.ts";
import type { AdmittedPull } from "./pull-host.ts";
import type { PullPaths } from "./pull-paths.ts";
import { UNATTENDED_GREETING_MS } from "./pull-ssh.ts";

/** A host's rsync that is on its way to be spoken to. */
export interface StartedHost {
  readonly shell: RemoteShell;
  readonly process: RemoteProcess;
}

/**
 * Opens the repository, and goes through what the last run knows, while the host's list comes. Gives what is to be
 * recorded of the run.
 */
export async function savePulled(
  context: RunContext,
  admitted: AdmittedPull,
  { paths, excludes, problems }: PullPaths,
  started: StartedHost,
  log: RunLog,
): Promise<RunEnd> {
  const { dataFolder, signal } = context;
  const { host, pull: settings } = admitted;
  const startedMs = context.nowMs();
  const previous = previousVersions();
  const progress = createBackupProgress();
  const unwanted = new AbortController();
  const opening = openRemoteSource({
    places: { login: settings.login, host: host.name, wanted: paths, paths: paths.map(rawPathFromText) },
    shell: started.shell,
    started: started.process,
    excludes,
    excludesIgnoringCase: [],
    excludeLargerThanBytes: undefined,
    oneFileSystem: false,
    compress: false,
    profile: settings.form === "plain" ? "plain" : undefined,
    greetingMs: UNATTENDED_GREETING_MS,
    previous: previous.content,
    signal: unwanted.signal,
    onProblem: countingProblems(progress, log.problem),
  });
  const formKept = opening.then((source) => keepForm(context, admitted, source, log));
  // What it fails of is told where the entries are asked for, or where it is waited for.
  formKept.catch(() => undefined);
  const source = deferredSource(opening, unwanted);
  // A host that sends nothing more must not hold up whoever stops the server.
  const letGo = (): void => void source.close();
  signal?.addEventListener("abort", letGo, { once: true });
  try {
    return await withOwnRepository(context, admitted, async (own) => {
      const { repository } = own;
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
      await formKept;
      const { receivedBytes, sentBytes } = (await opening).traffic();
      log.say("info", `${receivedBytes} bytes came, ${sentBytes} were sent`);
      return own.recordSuccess(result, problems.length);
    });
  } finally {
    signal?.removeEventListener("abort", letGo);
    await source.close();
  }
}

/** What a forced command lets through is asked for at once next time, and said once. */
async function keepForm(
  { database }: RunContext,
  { host, pull: settings }: AdmittedPull,
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
