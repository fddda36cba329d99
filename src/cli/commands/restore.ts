import { readdirSync } from "node:fs";
import { UsageError } from "../../errors.ts";
import { displayPath, type RawPath } from "../../platform/raw-path.ts";
import {
  createRestoreProgress,
  restoreSnapshot,
  type RestoreAction,
  type RestoreResult,
} from "../../restore/restore.ts";
import { compileSelection } from "../../restore/selection.ts";
import { restoreWorkers } from "../../restore/worker-pool.ts";
import type { Invocation, OptionValues } from "../command-spec.ts";
import { openFromSettings } from "../open-repository.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { formatDuration } from "../output/format-time.ts";
import type { Output } from "../output/output.ts";
import { startProgress, type ProgressState } from "../output/progress.ts";
import { reportItem } from "../report-item.ts";
import { openNamedView } from "../snapshot-path.ts";
import type { restoreSpec } from "./restore.spec.ts";
import { filterOf } from "./snapshot-filter.ts";

type RestoreOptions = OptionValues<typeof restoreSpec.options>;

export async function run({ context, args, options }: Invocation<typeof restoreSpec.options>): Promise<number> {
  const { output, signal } = context;
  const { target } = options;
  if (target === undefined || target === "") {
    throw new UsageError("it is not said where to restore to", { hint: "use --target FOLDER" });
  }
  const select = selectionOf(options);
  const startMs = performance.now();
  if (!options.dryRun) restoreWorkers.start();
  try {
    const repository = await openFromSettings(context);
    const { snapshot, view, reader, below } = await openNamedView(repository, args[0], filterOf(options));
    tellOfOtherFiles(output, target, options);
    output.note(
      `restoring snapshot ${snapshot.id.slice(0, 8)}${below === "" ? "" : `:/${displayPath(below)}`} to ${target}`,
    );

    const progress = createRestoreProgress();
    // How much a part of a snapshot will be is not known before it has been walked.
    const isWhole = below === "" && select === undefined;
    const state = (): ProgressState => ({
      filesDone: progress.files,
      bytesDone: progress.bytes,
      totalFiles: isWhole ? snapshot.record.open.files : undefined,
      totalBytes: isWhole ? snapshot.record.open.sizeBytes : undefined,
      errors: progress.problems,
      current: progress.current === "" ? [] : [`/${displayPath(progress.current)}`],
    });
    const shown = startProgress(output, state, ({ filesDone, bytesDone }) => ({
      files_restored: filesDone,
      bytes_restored: bytesDone,
      files_done: undefined,
      bytes_done: undefined,
    }));
    try {
      const result = await restoreSnapshot({
        repository,
        reader,
        view,
        target,
        select,
        overwrite: options.overwrite,
        deleteExtra: options.delete,
        dryRun: options.dryRun,
        verify: options.verify,
        sparse: options.sparse,
        ownersByName: options.ownershipByName,
        keepDamaged: options.keepDamaged,
        onProblem: ({ path, error }) => reportItem(output, "restore", path, error),
        onEntry: saysEntries(output, options)
          ? (path, action, size) => sayEntry(output, path, action, size)
          : undefined,
        progress,
        signal,
      });
      shown.stop();
      summarize(output, result, options.dryRun, performance.now() - startMs);
      return result.problems > 0 ? 1 : 0;
    } finally {
      shown.stop();
    }
  } finally {
    await restoreWorkers.stop();
  }
}

function selectionOf(options: RestoreOptions) {
  return compileSelection({
    include: options.include,
    includeIgnoringCase: options.iinclude,
    exclude: options.exclude,
    excludeIgnoringCase: options.iexclude,
  });
}

/** Restoring into a folder in use is what some want and others did not mean. */
function tellOfOtherFiles(
  output: Output,
  target: string,
  { overwrite, delete: deletes, dryRun }: RestoreOptions,
): void {
  if (dryRun || isEmptyOrMissing(target)) return;
  const fate = {
    always: "files of the same names are overwritten",
    "if-changed": "files of the same names are overwritten where they differ",
    "if-newer": "older files of the same names are overwritten",
    never: "files of the same names are left as they are",
  }[overwrite];
  output.note(`${target} is not empty: ${fate}${deletes ? ", all others deleted" : ", others stay"}`);
}

function isEmptyOrMissing(folder: string): boolean {
  try {
    return readdirSync(folder).length === 0;
  } catch {
    return true;
  }
}

function saysEntries({ verbosity }: Output, { dryRun }: RestoreOptions): boolean {
  return verbosity >= 2 || (dryRun && verbosity >= 1);
}

function sayEntry(output: Output, path: RawPath, action: RestoreAction, size: number): void {
  const item = `/${displayPath(path)}`;
  if (output.json) output.jsonLine({ message_type: "verbose_status", action, item, size });
  else output.line(`${action.padEnd(9)} ${item}`);
}

function summarize(output: Output, result: RestoreResult, dryRun: boolean, elapsedMs: number): void {
  const { restored, updated, unchanged, skipped, deleted, bytes, writtenBytes, verified, problems, shortfalls } =
    result;
  if (output.json) {
    output.jsonLine({
      message_type: "summary",
      dry_run: dryRun,
      seconds_elapsed: Math.round(elapsedMs / 1000),
      total_files: restored + updated + unchanged + skipped,
      files_restored: restored + updated,
      files_skipped: skipped,
      files_unchanged: unchanged,
      files_deleted: deleted,
      files_verified: verified,
      total_bytes: bytes,
      bytes_restored: writtenBytes,
      error_count: problems,
      shortfalls: shortfalls.map(({ kind, count, firstPath }) => ({
        kind,
        count,
        first: `/${displayPath(firstPath)}`,
      })),
    });
    return;
  }
  for (const { kind, count, firstPath } of shortfalls) {
    output.warning(
      `Warning: ${count} × ${kind} could not be set by this user or file system; first /${displayPath(firstPath)}`,
    );
  }
  if (problems > 0) output.warning(`Warning: ${problems} of the files could not be restored, or not as they should be`);
  const counts = [
    `${restored} new`,
    `${updated} updated`,
    `${unchanged} unchanged`,
    ...(skipped > 0 ? [`${skipped} skipped`] : []),
    ...(deleted > 0 ? [`${deleted} deleted`] : []),
  ].join(", ");
  const time = formatDuration(elapsedMs);
  output.note("");
  output.note(
    `${dryRun ? "would restore" : "restored"} ${counts} (${formatBytes(bytes)}; ${formatBytes(writtenBytes)} written) in ${time}`,
  );
  if (verified > 0) output.note(`verified ${verified} files: their content is as it was saved`);
}
