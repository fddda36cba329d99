import type { SigningKey } from "../crypto/signing.ts";
import { openFrameReader } from "../repository/frame-reader.ts";
import type { Compression } from "../repository/frame-writer.ts";
import type { Repository } from "../repository/repository.ts";
import { openSnapshots, type Snapshot } from "../repository/snapshots.ts";
import type { ReportProblem } from "../source/source.ts";
import { countingProblems, createBackupProgress, type BackupProgress, type BackupResult } from "./backup.ts";
import { backupToRepository } from "./backup-to-repository.ts";
import { openSnapshotSource } from "./snapshot-source.ts";

/**
 * Copies snapshots into another repository, with other keys: they are read, verified, and saved there as if they came from
 * a disc, so data that is there already is not stored again.
 */
export interface CopyOptions {
  readonly from: Repository;
  readonly to: Repository;
  /** Of `from`; copied in order of time. */
  readonly snapshots: readonly Snapshot[];
  readonly signingKey: SigningKey;
  readonly compression: Compression;
  /** For notes that spare reading again what snapshots share; undefined for none. */
  readonly cacheDirectory: string | undefined;
  /** What of a snapshot cannot be read is left out, and the copy is incomplete. */
  readonly onProblem: (snapshot: Snapshot, ...problem: Parameters<ReportProblem>) => void;
  /** Told before each; `isThere` where it need not be copied. */
  readonly onSnapshot?: ((snapshot: Snapshot, isThere: boolean) => void) | undefined;
  readonly onCopied?: ((snapshot: Snapshot, result: BackupResult) => void) | undefined;
  /** Told what each goes on in. */
  readonly onProgress?: ((progress: BackupProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export async function copySnapshots(options: CopyOptions): Promise<void> {
  const { from, to } = options;
  const there = new Set((await openSnapshots(to)).map(identityOf));
  const reader = await openFrameReader(from);
  for (const snapshot of [...options.snapshots].sort((a, b) => a.timeMs - b.timeMs)) {
    const isThere = there.has(identityOf(snapshot));
    options.onSnapshot?.(snapshot, isThere);
    if (isThere) continue;
    const { sealed, record } = snapshot;
    const progress = createBackupProgress();
    options.onProgress?.(progress);
    const onProblem: ReportProblem = (problem) => options.onProblem(snapshot, problem);
    const result = await backupToRepository({
      repository: to,
      source: openSnapshotSource({ reader, top: sealed.root, onProblem: countingProblems(progress, onProblem) }),
      paths: sealed.paths,
      host: record.open.host,
      tags: sealed.tags,
      user: sealed.user,
      program: sealed.program,
      excludes: sealed.excludes,
      signingKey: options.signingKey,
      compression: options.compression,
      startedMs: snapshot.timeMs,
      cacheDirectory: options.cacheDirectory && `${options.cacheDirectory}/copies-of-${from.config.id.toString("hex")}`,
      onProblem,
      progress,
      signal: options.signal,
    });
    options.onCopied?.(snapshot, result);
  }
}

/** A copy has another id, as it has other keys; but no two backups of the same begin in the same millisecond. */
function identityOf({ timeMs, record, sealed }: Snapshot): string {
  return JSON.stringify([timeMs, record.open.host, sealed.paths, sealed.tags]);
}
