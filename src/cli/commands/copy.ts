import type { BackupProgress } from "../../backup/backup.ts";
import { copySnapshots } from "../../backup/copy.ts";
import { UsageError } from "../../errors.ts";
import { displayPath } from "../../platform/raw-path.ts";
import { SHORT_ID_LENGTH, type Snapshot } from "../../repository/snapshots.ts";
import { cacheFolder } from "../cache.ts";
import { chooseSnapshots } from "../choose-snapshots.ts";
import type { Invocation } from "../command-spec.ts";
import { hostSigningKey } from "../host-identity.ts";
import { openFromOptions, openFromSettings, repositoryOf } from "../open-repository.ts";
import { formatBytes } from "../output/format-bytes.ts";
import { formatTime } from "../output/format-time.ts";
import { startProgress } from "../output/progress.ts";
import { reportItem } from "../report-item.ts";
import type { copySpec } from "./copy.spec.ts";
import { filterOf } from "./snapshot-filter.ts";

export async function run({ context, args, options }: Invocation<typeof copySpec.options>): Promise<number> {
  const { output, signal } = context;
  const place = repositoryOf(options.fromRepo, options.fromRepositoryFile, "--from-repo");
  if (place === undefined) {
    throw new UsageError("it is not said where to copy from", {
      hint: "use --from-repo, or set HOLDFAST_FROM_REPOSITORY",
    });
  }
  const from = await openFromOptions(context, {
    repo: place,
    passwordFile: options.fromPasswordFile,
    passwordCommand: options.fromPasswordCommand,
    identityFile: options.fromIdentityFile,
    keyHint: options.fromKeyHint,
    variable: "HOLDFAST_FROM_PASSWORD",
  });
  const to = await openFromSettings(context);
  if (from.config.id.equals(to.config.id)) throw new UsageError("source and destination are the same repository");
  const { snapshots, damaged } = await chooseSnapshots(from, args, filterOf(options), output);

  const runs: BackupProgress[] = [];
  const sum = (of: (one: BackupProgress) => number) => runs.reduce((total, one) => total + of(one), 0);
  const problems = () => sum((one) => one.problems);
  let copied = 0;
  const shown = startProgress(output, () => {
    const current = runs.at(-1)?.current ?? "";
    return {
      filesDone: sum(({ files }) => files),
      bytesDone: sum(({ bytes }) => bytes),
      errors: problems(),
      current: current === "" ? [] : [`/${displayPath(current)}`],
    };
  });
  try {
    await copySnapshots({
      from,
      to,
      snapshots,
      signingKey: hostSigningKey(),
      compression: "auto",
      cacheDirectory: cacheFolder(context),
      onProblem: (_snapshot, { path, during, error }) => reportItem(output, during, path, error),
      onSnapshot: (snapshot, isThere) => {
        output.note(`${describe(snapshot)}${isThere ? ": is there already" : ""}`);
      },
      onCopied: (snapshot, { snapshotId, storedBytes }) => {
        copied++;
        output.note(`  snapshot ${snapshotId.slice(0, SHORT_ID_LENGTH)} saved, ${formatBytes(storedBytes)} stored`);
        if (output.json) {
          output.jsonLine({
            message_type: "copied",
            source_snapshot: snapshot.id,
            snapshot_id: snapshotId,
            data_added_packed: storedBytes,
          });
        }
      },
      onProgress: (progress) => runs.push(progress),
      signal,
    });
  } finally {
    shown.stop();
  }
  if (output.json) output.jsonLine({ message_type: "summary", copied_snapshots: copied, error_count: problems() });
  return damaged + problems() > 0 ? 1 : 0;
}

function describe({ id, sealed, record, timeMs }: Snapshot): string {
  const paths = sealed.paths.map(displayPath).join(", ");
  return `snapshot ${id.slice(0, SHORT_ID_LENGTH)} of [${paths}] on ${record.open.host} at ${formatTime(timeMs)}`;
}
