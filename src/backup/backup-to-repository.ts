import { existsSync } from "node:fs";
import { createKeyedHash } from "../crypto/keyed-hash.ts";
import type { SigningKey } from "../crypto/signing.ts";
import type { RawPath } from "../platform/raw-path.ts";
import type { Compression } from "../repository/frame-writer.ts";
import { messageOf } from "../errors.ts";
import { openFrameReader } from "../repository/frame-reader.ts";
import type { LoadedIndex } from "../repository/index-loader.ts";
import { type Repository, writerKeys } from "../repository/repository.ts";
import {
  listSnapshots,
  openSnapshot,
  readSnapshot,
  SHORT_ID_LENGTH,
  type SnapshotRecord,
} from "../repository/snapshots.ts";
import type { ReportProblem, Source } from "../source/source.ts";
import { discardWrites } from "../storage/discarding.ts";
import { backup, type BackupProgress, type BackupResult, type EntryChange } from "./backup.ts";
import { openLocalDestination } from "./local-destination.ts";
import { writeLogFromSnapshot } from "./known-from-snapshot.ts";
import { openResumableLog } from "./resumable-log.ts";
import {
  ALL_IGNORED,
  createWalkLog,
  givenUpOnFailure,
  openWalkLog,
  walkLogPath,
  type IgnoredDifferences,
  type KnownEntries,
  type WalkLogWriter,
} from "./walk-log.ts";
import type { FileStat } from "../platform/file-stat.ts";

/** A backup of a source into a repository at hand: finds what the last run knows, and goes on from there. */
export interface RepositoryBackupOptions {
  readonly repository: Repository;
  readonly source: Source;
  /** What the snapshot is of, as the user knows it. With the host they tell which snapshots belong together. */
  readonly paths: readonly RawPath[];
  readonly host: string;
  readonly tags: readonly string[];
  readonly user: string;
  readonly program: string;
  readonly excludes: readonly string[];
  readonly signingKey: SigningKey;
  readonly compression: Compression;
  /** The snapshot's time; by default now. */
  readonly startedMs?: number | undefined;
  /** Id of the snapshot to compare with, in place of the last of the same host and paths. */
  readonly parent?: string | undefined;
  /** Reads everything again. */
  readonly force?: boolean | undefined;
  /** Of files that differ from the last run in nothing else, the content is not read again. */
  readonly ignored?: IgnoredDifferences | undefined;
  /** Reads and compares everything, and stores nothing. */
  readonly dryRun?: boolean | undefined;
  /** Where walk logs lie; undefined to keep none. */
  readonly cacheDirectory: string | undefined;
  /** Goes on where an interrupted run stopped, because getting the content again is dear. */
  readonly resumes?: boolean | undefined;
  /** What the note in storage says that somebody is at; by default a backup. */
  readonly noteAs?: string | undefined;
  readonly workers?: number | undefined;
  readonly onProblem: ReportProblem;
  readonly onEntry?: ((path: RawPath, change: EntryChange, stat: FileStat) => void) | undefined;
  /** Told of what makes this run or the next one slower than it could be. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Told once, before the first file is read, of the snapshot that this one is compared with. */
  readonly onParent?: ((parent: SnapshotRecord | undefined) => void) | undefined;
  readonly progress?: BackupProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export async function backupToRepository(options: RepositoryBackupOptions): Promise<BackupResult> {
  const { host, paths, cacheDirectory } = options;
  const repository = options.dryRun === true ? withoutWriting(options.repository) : options.repository;
  const group = snapshotGroup(repository, host, paths);
  const parent = await findParent(repository, group, options);
  options.onParent?.(parent);
  const startedMs = options.startedMs ?? Date.now();
  const destination = await openLocalDestination(repository, {
    signingKey: options.signingKey,
    startedMs,
    noteAs: options.noteAs,
  });
  const logPath =
    cacheDirectory && walkLogPath(cacheDirectory, repository.config.id.toString("hex"), group.toString("hex"));
  if (logPath !== undefined && parent !== undefined && options.force !== true && !existsSync(logPath)) {
    await rememberParent(repository, logPath, parent, destination.index, options);
  }
  return backup({
    source: options.source,
    destination,
    ...openLogs(logPath, options),
    snapshot: {
      host,
      group,
      parent: parent?.id,
      paths,
      tags: options.tags,
      user: options.user,
      program: options.program,
      excludes: options.excludes,
    },
    compression: options.compression,
    workers: options.workers,
    onProblem: options.onProblem,
    onEntry: options.onEntry,
    progress: options.progress,
    signal: options.signal,
  });
}

/** Makes a log of what the parent knows, where this machine has none. Where that cannot be, all is read again. */
async function rememberParent(
  repository: Repository,
  logPath: string,
  parent: SnapshotRecord,
  index: LoadedIndex,
  options: RepositoryBackupOptions,
): Promise<void> {
  if (repository.ring.privateKey === undefined) return;
  try {
    const reader = await openFrameReader(repository, index);
    await writeLogFromSnapshot(logPath, reader, openSnapshot(repository, parent).sealed.root);
  } catch (error) {
    const id = parent.id.slice(0, SHORT_ID_LENGTH);
    options.onWarning?.(`everything is read again: what snapshot ${id} holds is not to be had (${messageOf(error)})`);
  }
}

function openLogs(
  logPath: string | undefined,
  { source, force, dryRun, resumes, onWarning, ...options }: RepositoryBackupOptions,
): { readonly known: KnownEntries | undefined; readonly log: WalkLogWriter | undefined } {
  if (logPath === undefined) return { known: undefined, log: undefined };
  const onFailure = (error: unknown): void =>
    onWarning?.(`the next run will read everything again: ${logPath} cannot be written (${messageOf(error)})`);
  const ignored = source.tellsNoCtime === true ? ALL_IGNORED : options.ignored;
  if (resumes === true && dryRun !== true && force !== true) {
    const { known, log } = openResumableLog(logPath, ignored);
    return { known, log: givenUpOnFailure(log, onFailure) };
  }
  const known = force === true ? undefined : openWalkLog(logPath, ignored);
  if (dryRun === true) return { known, log: undefined };
  return { known, log: givenUpOnFailure(createWalkLog(logPath, known), onFailure) };
}

/** Equal for snapshots of the same host and paths, and tells nothing of them without the key. 16 bytes. */
export function snapshotGroup(repository: Repository, host: string, paths: readonly RawPath[]): Buffer {
  const hash = createKeyedHash(writerKeys(repository).group);
  return hash.hash(Buffer.from(JSON.stringify([host, paths]))).subarray(0, 16);
}

/** The snapshot that a backup is compared with: the one that is named, or the last of the same host and paths. */
export function findParentSnapshot(
  repository: Repository,
  host: string,
  paths: readonly RawPath[],
  options: Pick<RepositoryBackupOptions, "parent" | "force">,
): Promise<SnapshotRecord | undefined> {
  return findParent(repository, snapshotGroup(repository, host, paths), options);
}

async function findParent(
  repository: Repository,
  group: Buffer,
  { parent, force }: Pick<RepositoryBackupOptions, "parent" | "force">,
): Promise<SnapshotRecord | undefined> {
  if (force === true) return undefined;
  if (parent !== undefined) return readSnapshot(repository, parent);
  const groupText = group.toString("hex");
  // A damaged record is for `check` to tell of; a backup goes on without it.
  const all = await listSnapshots(repository, () => undefined);
  return all.filter((snapshot) => snapshot.record.open.group === groupText).at(-1);
}

function withoutWriting(repository: Repository): Repository {
  return { ...repository, storage: discardWrites(repository.storage) };
}
