import type { SigningKey } from "../crypto/signing.ts";
import { messageOf } from "../errors.ts";
import { displayPath } from "../platform/raw-path.ts";
import { openFrameReader } from "../repository/frame-reader.ts";
import type { Repository } from "../repository/repository.ts";
import type { Snapshot } from "../repository/snapshots.ts";
import { createTreeChecker } from "../repository/tree-checker.ts";
import { countingProblems, createBackupProgress } from "./backup.ts";
import { backupToRepository } from "./backup-to-repository.ts";
import { openSnapshotSource } from "./snapshot-source.ts";

/**
 * Saves of damaged snapshots what can still be read, as new snapshots of the same time and host with the tag `repaired`.
 * To be run when index and packs are in order again.
 */
export interface SnapshotRepairOptions {
  readonly repository: Repository;
  readonly snapshots: readonly Snapshot[];
  readonly signingKey: SigningKey;
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface SnapshotRepair {
  readonly snapshot: Snapshot;
  /** What is wrong with it, with paths; empty for a sound one, of which nothing was made. */
  readonly lost: readonly string[];
  /** The snapshot that was made; undefined in a dry run, or where nothing could be saved. */
  readonly newId: string | undefined;
}

const REPAIRED_TAG = "repaired";

export async function* repairSnapshots(options: SnapshotRepairOptions): AsyncGenerator<SnapshotRepair> {
  const { repository, dryRun = false } = options;
  const reader = await openFrameReader(repository);
  const checker = createTreeChecker(reader);
  for (const snapshot of options.snapshots) {
    const { problems } = await checker.check(snapshot.sealed.root);
    if (problems.length === 0 || dryRun) {
      yield { snapshot, lost: problems, newId: undefined };
      continue;
    }
    const lost: string[] = [];
    const onProblem: Parameters<typeof openSnapshotSource>[0]["onProblem"] = ({ path, error }) => {
      lost.push(`/${displayPath(path)}: ${messageOf(error)}`);
    };
    const progress = createBackupProgress();
    const { sealed, record } = snapshot;
    const result = await backupToRepository({
      repository,
      source: openSnapshotSource({ reader, top: sealed.root, onProblem: countingProblems(progress, onProblem) }),
      paths: sealed.paths,
      host: record.open.host,
      tags: [...new Set([...sealed.tags, REPAIRED_TAG])],
      user: sealed.user,
      program: sealed.program,
      excludes: sealed.excludes,
      signingKey: options.signingKey,
      compression: "auto",
      startedMs: snapshot.timeMs,
      force: true,
      cacheDirectory: undefined,
      onProblem,
      progress,
      signal: options.signal,
    });
    yield { snapshot, lost: lost.length > 0 ? lost : problems, newId: result.snapshotId };
  }
}
