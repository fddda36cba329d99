/**
 * One pull: what a host shows through rsync over ssh becomes a snapshot of it, with nothing of it on the server's disc. To
 * reach the host takes longer than to load what saves it: its rsync is started as soon as its paths are known, and waits
 * until it is spoken to.
 */
import { HoldfastError, RefusedError } from "../../errors.ts";
import { findAccount } from "../../fleet/accounts.ts";
import { admitBackup } from "../../fleet/admission.ts";
import { findHost } from "../../fleet/hosts.ts";
import { findPolicy } from "../../fleet/policies.ts";
import type { PullSettings } from "../../fleet/pulls.ts";
import { endRun, type RunEnd } from "../../fleet/runs.ts";
import { startPull } from "../../source/rsync/start-pull.ts";
import { openRunLog, textOf, type AdmittedRun, type RunContext, type RunLog } from "./own-run.ts";
import { pathsOf } from "./pull-paths.ts";
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
export interface AdmittedPull extends AdmittedRun {
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
  const { host, pull: settings } = admitted;
  const policy = await findPolicy(database, host.policy);
  const paths = await pathsOf({ dataFolder, host: host.name, pull: settings, policy });
  for (const problem of paths.problems) log.say("warning", problem);
  log.say("info", `pulling ${paths.paths.join(" ")} from ${settings.login}`);
  const shell = pullShell({ dataFolder, host: host.name, pull: settings });
  const profile = settings.form === "plain" ? "plain" : "full";
  const started = startPull({ remote: { shell, login: settings.login }, paths: paths.paths }, profile);
  try {
    const { savePulled } = await import("./save-pulled.ts");
    return await savePulled(context, admitted, paths, { shell, process: started }, log);
  } finally {
    started.kill();
  }
}
