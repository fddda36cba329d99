import { execFileSync } from "node:child_process";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { isRunDue } from "../../agent/ask.ts";
import { enrolAtServer, enrolOverSsh } from "../../agent/enrol.ts";
import { readLastRun } from "../../agent/last-run.ts";
import type { PlannedMount } from "../../agent/plan.ts";
import { currentPlan, runAgent, type AgentRunOptions, type AgentRunResult } from "../../agent/run.ts";
import {
  agentFile,
  DEFAULT_AGENT_FOLDER,
  ownExcludes,
  readAgentSettings,
  serverName,
  setupLogin,
  type AgentServer,
} from "../../agent/state.ts";
import { retryDelaysMs } from "../../agent/remote-storage.ts";
import { completeRotation, rotateKeys } from "../../agent/rotate-key.ts";
import { planTimer, TIMER_FILES, TIMER_UNIT } from "../../agent/timer.ts";
import { createBackupProgress } from "../../backup/backup.ts";
import { messageOf, RefusedError, StorageError, UsageError } from "../../errors.ts";
import { displayPath, rawPathFromText } from "../../platform/raw-path.ts";
import type { Invocation } from "../command-spec.ts";
import type { Context } from "../context.ts";
import { userName } from "../host-identity.ts";
import { AGENT_REPOSITORY } from "../open-repository.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { formatDuration, formatTime } from "../output/format-time.ts";
import { startProgress } from "../output/progress.ts";
import { formatTable } from "../output/table.ts";
import { programVersion } from "../program-version.ts";
import { reportItem } from "../report-item.ts";
import type {
  agentPlanSpec,
  agentRemoveSpec,
  agentRestoreSpec,
  agentRotateKeySpec,
  agentRunSpec,
  agentSetupSpec,
  agentSnapshotsSpec,
  agentStatusSpec,
} from "./agent.spec.ts";
import { only, plural } from "./fleet-options.ts";
import { run as runRestore } from "./restore.ts";
import { PROGRAM_FILE } from "./server.ts";
import { serverOf } from "../server-access.ts";
import { run as runSnapshots } from "./snapshots.ts";

const SOME_UNREADABLE = 3;

interface AgentFolder {
  readonly agentFolder: string | undefined;
}

function folderOf({ agentFolder }: AgentFolder): string {
  return path.resolve(agentFolder ?? DEFAULT_AGENT_FOLDER);
}

export const setup = {
  async run({ context, args, options }: Invocation<typeof agentSetupSpec.options>): Promise<number> {
    const { output } = context;
    const folder = folderOf(options);
    const server = parseServer(only(args, "server"));
    const hostName = options.name ?? hostname().split(".")[0];
    const enrol = enrolmentAt(server, folder, hostName, options);
    const { fixedPolicy } = options;
    const result = await enrolAtServer({ folder, server, hostName, enrol, fixedPolicy });
    if (output.json) output.jsonLine({ message_type: "enrolled", ...result });
    if (result.state === "pending-approval") {
      output.note(
        `The server knows a host "${result.host}" with another key. On the server: holdfast host approve ${result.host}`,
      );
      output.note("Then run this again.");
      return 0;
    }
    output.note(`This host is "${result.host}" of the account "${result.account}" on ${serverName(result.server)}.`);
    if (!("dataFolder" in server)) {
      output.note(`The server's host key is pinned in ${agentFile.knownHosts(folder)}.`);
    }
    if (!options.withoutTimer) installTimer(context, folder);
    if (options.run) return runOnce(context, folder, {});
    output.note('See what will be saved with "holdfast agent plan", and begin with "holdfast agent run".');
    return 0;
  },
};

interface Login {
  readonly name?: string | undefined;
  readonly token: string | undefined;
  readonly hostKey?: string | undefined;
  readonly remoteCommand: string | undefined;
  readonly sshOption: readonly string[];
}

/** Hands keys over by the login that the options name. */
function enrolmentAt(
  server: AgentServer,
  folder: string,
  hostName: string,
  { name, token, hostKey, remoteCommand = "holdfast", sshOption }: Login,
): (keys: string) => Promise<string> {
  if ("dataFolder" in server) return (keys) => enrolHere(server.dataFolder, hostName, keys);
  const login = {
    folder,
    server,
    // A token knows its name; one that a person gives besides must be the same.
    hostName: token === undefined ? hostName : name,
    token,
    hostKey,
    remoteCommand,
    interactive: process.stdin.isTTY,
    sshOptions: sshOption.map((option) => `-o${option}`),
  };
  return (keys) => enrolOverSsh(login, keys);
}

/** At the server of this machine and user. */
async function enrolHere(dataFolder: string, host: string, keys: string): Promise<string> {
  const body = { host, keys: JSON.parse(keys) as unknown, withToken: false };
  return JSON.stringify(await serverOf({ data: dataFolder }).call("POST", "/v1/enrol", body));
}

function parseServer(text: string): AgentServer {
  if (/^[./]/.test(text)) return { dataFolder: path.resolve(text) };
  const match = /^([A-Za-z0-9_][A-Za-z0-9._-]*)@(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(?::(\d{1,5}))?$/.exec(
    text,
  );
  const port = Number(match?.[3] ?? 22);
  if (match === null || port < 1 || port > 65_535) {
    throw new UsageError(`"${text}" is not a server`, {
      hint: "write USER@SERVER or USER@SERVER:PORT, or the data folder of a server on this machine: /… or ./…",
    });
  }
  return { user: match[1], host: match[2].replace(/^\[(.*)\]$/, "$1"), port };
}

function installTimer({ output }: Context, folder: string): void {
  const hasSystemd = existsSync("/run/systemd/system");
  if (process.getuid?.() !== 0) {
    output.note("Without root there is no timer: run it by yourself, or set this up as root.");
    return;
  }
  if (!hasSystemd && !existsSync("/etc/cron.d")) {
    output.note(
      'There is neither systemd nor cron here: let something run "holdfast agent run --if-due" every 5 minutes.',
    );
    return;
  }
  for (const { file, content } of planTimer({ folder, hasSystemd, programFile: PROGRAM_FILE })) {
    writeFileSync(file, content);
    output.note(`wrote ${file}`);
  }
  if (hasSystemd) {
    systemctl("daemon-reload");
    systemctl("enable", "--now", TIMER_UNIT);
  }
}

function systemctl(...args: string[]): void {
  try {
    execFileSync("systemctl", args, { stdio: "pipe" });
  } catch (cause) {
    throw new StorageError(`systemctl ${args.join(" ")} failed: ${messageOf(cause)}`, { cause });
  }
}

export const run = {
  async run({ context, options }: Invocation<typeof agentRunSpec.options>): Promise<number> {
    const { ifDue, retries, retryAfter } = options;
    const folder = folderOf(options);
    if (ifDue && !(await withPresentKeys(context, folder, () => isDue(context, folder)))) return 0;
    const delays = retryDelaysMs(retries, retryAfter * 1000);
    return withPresentKeys(context, folder, () => runOnce(context, folder, { retryDelaysMs: delays }));
  },
};

/** Where the server knows this host by its new keys already, they are taken, and the work begins again. */
async function withPresentKeys<Result>(
  { output, signal }: Context,
  folder: string,
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    const isComplete = await completeRotation(folder, `holdfast ${programVersion()}`, signal).catch(() => false);
    if (!isComplete) throw error;
    output.note("the new keys of this host were approved, and count from now on");
    return work();
  }
}

async function isDue({ output, signal }: Context, folder: string): Promise<boolean> {
  const due = await isRunDue(folder, `holdfast ${programVersion()}`, signal);
  const { problem, wanted, nextRunMs } = due;
  if (problem !== undefined) {
    const message = `the server could not be asked (${messageOf(problem)}); this host goes by the policy that it knows`;
    output.warning(message, { message_type: "error", error: { message } });
  }
  if (due.isDue) {
    if (wanted) output.note("somebody wants a run of this host");
    return true;
  }
  if (output.json) output.jsonLine({ message_type: "not_due", nextRunMs });
  output.note(`nothing is due before ${formatTime(nextRunMs)}`);
  return false;
}

async function runOnce(
  context: Context,
  folder: string,
  more: Pick<AgentRunOptions, "retryDelaysMs">,
): Promise<number> {
  const { limitUpload, limitDownload } = context.settings;
  const { output, signal } = context;
  const startMs = performance.now();
  const progress = createBackupProgress();
  const shown = startProgress(output, () => ({
    filesDone: progress.files,
    bytesDone: progress.bytes,
    errors: progress.problems,
    current: progress.current === "" ? [] : [`/${displayPath(progress.current)}`],
  }));
  try {
    const result = await runAgent({
      folder,
      program: `holdfast ${programVersion()}`,
      user: userName(),
      onProblem: ({ during, path: where, error }) => {
        progress.problems++;
        reportItem(output, during, where, error);
      },
      onRetry: (error, delayMs) => {
        const message = `the connection broke (${messageOf(error)}); trying again in ${formatDuration(delayMs)}`;
        output.warning(message, { message_type: "error", error: { message } });
      },
      onPolicy: () => output.note("the policy has changed on the server; see it with: holdfast agent status"),
      progress,
      uploadBytesPerSecond: limitUpload,
      downloadBytesPerSecond: limitDownload,
      ...more,
      signal,
    });
    shown.stop();
    summarize(context, result, performance.now() - startMs);
    return result.problems > 0 ? SOME_UNREADABLE : 0;
  } finally {
    shown.stop();
  }
}

function summarize({ output }: Context, result: AgentRunResult, elapsedMs: number): void {
  const { snapshotId, files, totalFiles, totalBytes, storedBytes, sentBytes, problems } = result;
  if (output.json) {
    output.jsonLine({
      message_type: "summary",
      snapshot_id: snapshotId,
      files_new: files.new,
      files_changed: files.changed,
      files_unmodified: files.unmodified,
      total_files_processed: totalFiles,
      total_bytes_processed: totalBytes,
      data_added_packed: storedBytes,
      bytes_sent: sentBytes,
      errors: problems,
      total_duration: elapsedMs / 1000,
    });
  }
  output.note(`snapshot ${snapshotId.slice(0, 8)} saved: ${plural(totalFiles, "file")}, ${formatBytes(totalBytes)}`);
  output.note(
    `${files.new} new, ${files.changed} changed; sent ${formatBytes(sentBytes)} in ${formatDuration(elapsedMs)}`,
  );
}

export const rotateKey = {
  async run({ context: { output }, options }: Invocation<typeof agentRotateKeySpec.options>): Promise<number> {
    const folder = folderOf(options);
    const { host, server } = readAgentSettings(folder);
    const { state } = await rotateKeys(folder, enrolmentAt(setupLogin(server), folder, host, options));
    if (output.json) output.jsonLine({ message_type: "rotation", host, state });
    if (state === "changed") output.note("The new keys count from now on; what the old ones signed stays good.");
    else {
      output.note(`The new keys wait for approval. On the server: holdfast host approve ${host}`);
      output.note("Until then the old keys count. The first run afterwards takes the new ones, or this command again.");
    }
    return 0;
  },
};

export const plan = {
  async run({ context: { output }, options }: Invocation<typeof agentPlanSpec.options>): Promise<number> {
    const folder = folderOf(options);
    const policy = existsSync(agentFile.settings(folder)) ? readAgentSettings(folder).policy : undefined;
    const { mounts, excludes, roots } = currentPlan();
    const sources = policy?.sources ?? [];
    const others = [...(policy?.excludes ?? []), ...ownExcludes(folder)];
    if (output.json) {
      output.jsonLine({
        sources: sources.length > 0 ? sources : roots,
        mounts,
        excludes: sources.length > 0 ? others : [...excludes, ...others],
      });
      return 0;
    }
    if (sources.length > 0) {
      output.line("The policy names what is saved:");
      for (const source of sources) output.line(`  ${displayPath(rawPathFromText(source))}`);
      if (others.length > 0) output.line("and what is left out:");
      for (const pattern of others) output.line(`  ${displayPath(rawPathFromText(pattern))}`);
      return 0;
    }
    const columns = [
      { title: "", cell: ({ isIn }: PlannedMount) => (isIn ? "in" : "out") },
      { title: "Mount", cell: ({ mountPoint }: PlannedMount) => displayPath(mountPoint) },
      { title: "Type", cell: ({ type }: PlannedMount) => type },
      { title: "Why", cell: ({ why }: PlannedMount) => why },
    ];
    const sorted = mounts.toSorted((a, b) => Number(b.isIn) - Number(a.isIn));
    for (const line of formatTable(columns, sorted, `${roots.length} file systems are saved`)) output.line(line);
    output.line("Left out besides: folders with a CACHEDIR.TAG, and");
    for (const pattern of [...excludes, ...others]) output.line(`  ${displayPath(rawPathFromText(pattern))}`);
    return 0;
  },
};

export const status = {
  async run({ context: { output }, options }: Invocation<typeof agentStatusSpec.options>): Promise<number> {
    const folder = folderOf(options);
    const { host, server, policy, fixedPolicy = false } = readAgentSettings(folder);
    const own = ownExcludes(folder);
    const lastRun = readLastRun(folder);
    const timer = TIMER_FILES.find((file) => existsSync(file));
    if (output.json) {
      output.jsonLine({ host, server, policy, fixedPolicy, ownExcludes: own, lastRun, timer });
      return 0;
    }
    output.line(`host "${host}", saved to ${serverName(server)}`);
    output.line(`schedule: ${policy.schedule}${timer === undefined ? ", but no timer is installed" : `, by ${timer}`}`);
    output.line(`saves: ${policy.sources.length === 0 ? "every local file system" : policy.sources.join(", ")}`);
    output.line(`leaves out: ${policy.excludes.join(", ") || "nothing besides"}${ownNote(own)}`);
    output.line(`the policy ${fixedPolicy ? "is fixed on this host" : "is the server's, as it said last"}`);
    if (lastRun === undefined) output.line("last run: none yet");
    else {
      const outcome =
        lastRun.snapshot === undefined ? `failed: ${lastRun.error}` : `snapshot ${lastRun.snapshot.slice(0, 8)}`;
      output.line(`last run: ${formatTime(lastRun.startedMs)}, ${outcome}`);
    }
    return 0;
  },
};

function ownNote(own: readonly string[]): string {
  return own.length === 0 ? "" : `; by this host's own wish: ${own.join(", ")}`;
}

function throughServer(context: Context, options: AgentFolder): Context {
  return { ...context, settings: { ...context.settings, repo: AGENT_REPOSITORY + folderOf(options) } };
}

export const snapshots = {
  run(invocation: Invocation<typeof agentSnapshotsSpec.options>): Promise<number> {
    return runSnapshots({ ...invocation, context: throughServer(invocation.context, invocation.options) });
  },
};

export const restore = {
  run(invocation: Invocation<typeof agentRestoreSpec.options>): Promise<number> {
    return runRestore({ ...invocation, context: throughServer(invocation.context, invocation.options) });
  },
};

export const remove = {
  async run({ context: { output }, options }: Invocation<typeof agentRemoveSpec.options>): Promise<number> {
    const folder = folderOf(options);
    const { host, server } = readAgentSettings(folder);
    const timers = TIMER_FILES.filter((file) => existsSync(file));
    for (const item of [...timers, folder]) output.note(`${options.yes ? "removing" : "would remove"} ${item}`);
    if (!options.yes) throw new UsageError("nothing was removed", { hint: "give --yes to do it" });
    if (timers.some((file) => file.endsWith(TIMER_UNIT))) systemctl("disable", "--now", TIMER_UNIT);
    for (const file of timers) rmSync(file, { force: true });
    if (timers.length > 0 && existsSync("/run/systemd/system")) systemctl("daemon-reload");
    rmSync(folder, { recursive: true, force: true });
    output.note(`The snapshots stay on ${serverName(server)}; there: holdfast host remove ${host}`);
    return 0;
  },
};
