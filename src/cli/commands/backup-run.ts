import { hostname } from "node:os";
import {
  countingProblems,
  createBackupProgress,
  type BackupProgress,
  type BackupResult,
  type EntryChange,
} from "../../backup/backup.ts";
import { backupToRepository } from "../../backup/backup-to-repository.ts";
import { expectWalkLog, isWalkLogExpected } from "../../backup/walk-log.ts";
import { backupWorkers } from "../../backup/worker-pool.ts";
import type { FileStat } from "../../platform/file-stat.ts";
import { displayPath, type RawPath } from "../../platform/raw-path.ts";
import { findSnapshot } from "../../repository/snapshots.ts";
import type { SourceProblem } from "../../source/source.ts";
import { readAhead } from "../../source/read-ahead.ts";
import { cacheFolder } from "../cache.ts";
import type { Invocation } from "../command-spec.ts";
import { hostSigningKey, userName } from "../host-identity.ts";
import { mayAskForPassword, openFromSettings, repositoryOptions, requireRepository } from "../open-repository.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { formatDuration } from "../output/format-time.ts";
import type { Output } from "../output/output.ts";
import { startProgress, type Progress, type ProgressState } from "../output/progress.ts";
import { programVersion } from "../program-version.ts";
import { reportItem } from "../report-item.ts";
import { startScan, type Scan } from "../scan.ts";
import { previousVersions } from "../../backup/previous-versions.ts";
import { hasNoRules } from "../../retention/keep-rules.ts";
import { keepRulesOf } from "./keep-options.ts";
import { thinOut } from "./thin-out.ts";
import type { StartedHost } from "./backup.ts";
import { chooseSource, takesInput } from "./backup-source.ts";
import type { backupSpec } from "./backup.spec.ts";

const SOME_UNREADABLE = 3;
/** Where a log tells what is unchanged, the walk is most of the work; else memory is better left to the workers. */
const ENTRIES_AHEAD = { withLog: 50_000, withoutLog: 4000 };

export async function runBackup(
  { context, args, options }: Invocation<typeof backupSpec.options>,
  started: StartedHost | undefined,
): Promise<number> {
  const { output, signal } = context;
  const startMs = Date.now();
  const cache = cacheFolder(context);
  const rules = keepRulesOf(options);
  const place = requireRepository(repositoryOptions(context));
  const chosen = await chooseSource(args, options, [place, ...(cache === undefined ? [] : [cache])], started);

  const progress = createBackupProgress();
  const report = (problem: SourceProblem) => reportItem(output, problem.during, problem.path, problem.error);
  const previous = previousVersions();
  // Another host's list takes a while to come, and the repository to be opened: both at once, where ssh and we do not ask
  // a person for passwords at the same time.
  const early =
    chosen.host === undefined || mayAskForPassword(context)
      ? undefined
      : openFromSettings(context, takesInput(options));
  // Whoever waits for it is told; if that is nobody, because the source could not be opened, nobody needs be.
  early?.catch(() => undefined);
  const { source: chosenSource, opened } = chosen.open(countingProblems(progress, report), previous.content);
  if (early === undefined) await opened;
  // Checking the password takes a while, which the walk and the start of the workers can use.
  const what = [place, options.host ?? chosen.host ?? "", ...chosen.paths];
  const mayBeUnchanged = !options.force && cache !== undefined && (await isWalkLogExpected(cache, what));
  const ahead = mayBeUnchanged ? ENTRIES_AHEAD.withLog : ENTRIES_AHEAD.withoutLog;
  // Of what another host has listed there is nothing to be gained, and what has not changed is not walked.
  const source = takesInput(options) || chosen.host !== undefined ? chosenSource : readAhead(chosenSource, ahead);
  if (!mayBeUnchanged) backupWorkers.start();
  let total: (() => ExpectedTotal | undefined) | undefined;
  let shown: Progress | undefined;
  let scan: Scan | undefined;
  let isOver = false;
  try {
    const repository = await (early ?? openFromSettings(context, takesInput(options)));
    const named = options.parent === undefined ? undefined : await findSnapshot(repository, options.parent);
    // Not while a password may be asked for.
    const show = (): void =>
      void (shown = isOver ? undefined : startProgress(output, () => progressState(progress, total?.())));
    if (early === undefined) show();
    else opened.then(show, () => undefined);
    const result = await backupToRepository({
      repository,
      source,
      paths: chosen.paths,
      host: options.host ?? chosen.host ?? hostname(),
      tags: [...new Set(options.tag.flat().filter((tag) => tag !== ""))],
      user: userName(),
      program: `holdfast ${programVersion()}`,
      excludes: chosen.excludes,
      signingKey: hostSigningKey(),
      compression: options.compression,
      startedMs: options.time,
      parent: named?.id,
      force: options.force,
      ignored: { ctime: options.ignoreCtime, inode: options.ignoreInode },
      dryRun: options.dryRun,
      cacheDirectory: cache,
      resumes: chosen.host !== undefined,
      onProblem: report,
      onEntry: output.verbosity >= 2 ? (path, change, stat) => sayEntry(output, path, change, stat) : undefined,
      onParent: (found) => {
        if (found !== undefined) {
          // The best guess there is without counting.
          const { files, sizeBytes: bytes } = found.record.open;
          total = () => ({ files, bytes });
        } else if (shown?.isShown === true && chosen.scannable !== undefined) {
          scan = startScan(chosen.scannable);
          total = scan.total;
        }
        if (found !== undefined) previous.setParent(repository, found);
        if (found !== undefined && output.verbosity >= 1)
          output.note(`comparing with snapshot ${found.id.slice(0, 8)}`);
      },
      progress,
      signal,
    });
    shown?.stop();
    await scan?.stop();
    if (cache !== undefined && !mayBeUnchanged && !options.dryRun) await expectWalkLog(cache, what);
    // Who saves other hosts does so from cron, and wants to hear of what is wrong.
    const isSilent = chosen.host !== undefined && !output.isTerminal && !output.json && output.verbosity === 0;
    summarize(isSilent ? { ...output, note: () => undefined } : output, result, options.dryRun, startMs);
    const thinned =
      hasNoRules(rules) || options.dryRun ? 0 : await thinOut(context, repository, result.snapshotId, rules);
    return result.problems > 0 ? SOME_UNREADABLE : thinned;
  } finally {
    isOver = true;
    shown?.stop();
    await scan?.stop();
    await source.close();
    await backupWorkers.stop();
  }
}

interface ExpectedTotal {
  readonly files: number;
  readonly bytes: number;
}

function progressState(progress: BackupProgress, total: ExpectedTotal | undefined): ProgressState {
  return {
    filesDone: progress.files,
    bytesDone: progress.bytes,
    totalFiles: total?.files,
    totalBytes: total?.bytes,
    errors: progress.problems,
    current: progress.current === "" ? [] : [`/${displayPath(progress.current)}`],
  };
}

function sayEntry(output: Output, path: RawPath, change: EntryChange, stat: FileStat): void {
  const item = `/${displayPath(path)}${stat.type === "directory" && path !== "" ? "/" : ""}`;
  const action = { new: "new", changed: "modified", unmodified: "unchanged" }[change];
  const size = stat.type === "file" ? stat.sizeBytes : 0;
  if (output.json) output.jsonLine({ message_type: "verbose_status", action, item, data_size: size });
  else output.line(`${action.padEnd(9)} ${item}${stat.type === "file" ? `, ${formatBytes(size)}` : ""}`);
}

function summarize(output: Output, result: BackupResult, dryRun: boolean, startMs: number): void {
  const { files, directories, others, addedBytes, storedBytes, totalFiles, totalBytes, snapshotId, problems } = result;
  const elapsedMs = Date.now() - startMs;
  if (output.json) {
    output.jsonLine({
      message_type: "summary",
      dry_run: dryRun,
      files_new: files.new,
      files_changed: files.changed,
      files_unmodified: files.unmodified,
      dirs_new: directories.new,
      dirs_changed: directories.changed,
      dirs_unmodified: directories.unmodified,
      others_new: others.new,
      others_changed: others.changed,
      others_unmodified: others.unmodified,
      data_blobs: result.dataBlobs,
      tree_blobs: result.treeBlobs,
      data_added: addedBytes,
      data_added_packed: storedBytes,
      total_files_processed: totalFiles,
      total_bytes_processed: totalBytes,
      error_count: problems,
      backup_start: new Date(startMs).toISOString(),
      backup_end: new Date(startMs + elapsedMs).toISOString(),
      total_duration: elapsedMs / 1000,
      ...(!dryRun && { snapshot_id: snapshotId }),
    });
    return;
  }
  const row = (name: string, counts: BackupResult["files"]) =>
    output.note(
      `${name.padEnd(8)} ${padded(counts.new)} new, ${padded(counts.changed)} changed, ${padded(counts.unmodified)} unmodified`,
    );
  output.note("");
  row("Files:", files);
  row("Dirs:", directories);
  if (others.new + others.changed + others.unmodified > 0) row("Others:", others);
  const added = `${formatBytes(addedBytes)} (${formatBytes(storedBytes)} stored)`;
  output.note(`${dryRun ? "Would add to" : "Added to"} the repository: ${added}`);
  output.note("");
  output.note(`processed ${totalFiles} files, ${formatBytes(totalBytes)} in ${formatDuration(elapsedMs)}`);
  if (problems > 0) {
    output.warning(`Warning: ${problems} of the files could not be saved, or not as they should be`, {
      message_type: "error",
      error: { message: `${problems} files could not be saved, or not as they should be` },
      during: "backup",
    });
  }
  if (!dryRun) output.note(`snapshot ${snapshotId.slice(0, 8)} saved`);
}

function padded(number: number): string {
  return String(number).padStart(5);
}
