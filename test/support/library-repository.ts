/** Repositories made, filled and read through the engine's own modules, for proofs that run thousands of times. */
import { createHash } from "node:crypto";
import { backup } from "../../src/backup/backup.ts";
import type { BackupResult } from "../../src/backup/backup.ts";
import { backupToRepository } from "../../src/backup/backup-to-repository.ts";
import type { RepositoryBackupOptions } from "../../src/backup/backup-to-repository.ts";
import { openLocalDestination } from "../../src/backup/local-destination.ts";
import { openSnapshotView } from "../../src/browse/open-snapshot-view.ts";
import type { SnapshotView } from "../../src/browse/snapshot-view.ts";
import { walk } from "../../src/browse/walk.ts";
import { generateSigningKey } from "../../src/crypto/signing.ts";
import type { FileEntry } from "../../src/format/tree.ts";
import { rawPathFromText } from "../../src/platform/raw-path.ts";
import { openFrameReader } from "../../src/repository/frame-reader.ts";
import { createRepository, openRepository } from "../../src/repository/repository.ts";
import type { Repository } from "../../src/repository/repository.ts";
import { openSnapshots } from "../../src/repository/snapshots.ts";
import { openLocalSource } from "../../src/source/local/local-source.ts";
import type { Source } from "../../src/source/source.ts";
import { memoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import type { Cleanup } from "./at-end.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const PASSPHRASE = "correct horse battery staple";
const signingKey = generateSigningKey();

/** A new repository, with the cheapest of all passphrases. */
export function newRepository(storage: Storage): Promise<Repository> {
  return createRepository(storage, { passphrase: PASSPHRASE, label: "", workFactorLog2: 1, now: new Date() });
}

/** Opens what `newRepository` made, from nothing but storage and passphrase. */
export function reopenRepository(storage: Storage): Promise<Repository> {
  return openRepository(storage, { passphrase: PASSPHRASE });
}

/** Saves a source as one run of a host. Without a cache it reads everything. Throws what the source reports. */
export function saveSource(
  repository: Repository,
  source: Source,
  options?: Partial<RepositoryBackupOptions>,
): Promise<BackupResult> {
  return backupToRepository({
    repository,
    source,
    paths: [rawPathFromText("/")],
    host: "web1",
    tags: [],
    user: "root",
    program: "test",
    excludes: [],
    signingKey,
    compression: "off",
    cacheDirectory: undefined,
    workers: 1,
    onProblem: ({ error }) => {
      throw error;
    },
    ...options,
  });
}

/** A host that saves whatever source it is given, again and again: each run finds what the last one knew. */
export interface SavingHost {
  readonly repository: Repository;
  save(source: Source, options?: Partial<RepositoryBackupOptions>): Promise<BackupResult>;
}

/** A host with a new repository in memory. */
export async function newSavingHost(t: Cleanup): Promise<SavingHost> {
  const repository = await newRepository(memoryStorage());
  const cacheDirectory = temporaryFolder(t);
  return {
    repository,
    save: (source, options) => saveSource(repository, source, { cacheDirectory, resumes: true, ...options }),
  };
}

/** Saves a folder as one snapshot and returns its id. Reads everything: there is no log of an earlier run. */
export async function saveFolder(repository: Repository, folder: string, now = new Date()): Promise<string> {
  const problems: unknown[] = [];
  const source = openLocalSource({ paths: [rawPathFromText(folder)], onProblem: ({ error }) => problems.push(error) });
  const destination = await openLocalDestination(repository, { signingKey, startedMs: now.getTime() });
  try {
    const { snapshotId } = await backup({
      source,
      destination,
      known: undefined,
      log: undefined,
      snapshot: {
        host: "here",
        group: Buffer.alloc(16),
        parent: undefined,
        paths: [rawPathFromText(folder)],
        tags: [],
        user: "tester",
        program: "proof",
        excludes: [],
      },
      compression: "auto",
      workers: 1,
      onProblem: ({ error }) => problems.push(error),
    });
    if (problems.length > 0) throw new AggregateError(problems, "the folder could not be read");
    return snapshotId;
  } catch (error) {
    await destination.abandon().catch(() => undefined);
    throw error;
  } finally {
    await source.close();
  }
}

/**
 * Everything that can be seen of all snapshots: by id, a line for each entry with all its attributes and the hash of its
 * content. Throws at the first thing that is wrong.
 */
export async function readEverything(repository: Repository): Promise<Map<string, readonly string[]>> {
  const reader = await openFrameReader(repository);
  const seen = new Map<string, readonly string[]>();
  for (const { id, sealed, record } of await openSnapshots(repository)) {
    const lines = [JSON.stringify([record.open.host, record.open.time, record.open.files, sealed.paths, sealed.tags])];
    const view = openSnapshotView(reader, sealed.root);
    for await (const { path, entry } of walk(view)) {
      const content = entry.type === "file" ? await hashOfContent(view, entry) : "";
      lines.push(`${JSON.stringify(path)} ${JSON.stringify(entry, withoutIds)} ${content}`);
    }
    seen.set(id, lines);
  }
  return seen;
}

/** Ids of blobs say nothing to a person, and prove nothing. */
function withoutIds(key: string, value: unknown): unknown {
  return key === "tree" || key === "content" ? undefined : value;
}

async function hashOfContent(view: SnapshotView, file: FileEntry): Promise<string> {
  const hash = createHash("sha256");
  let end = 0;
  for await (const piece of view.pieces(file)) {
    if (piece.offset !== end) throw new Error(`a piece begins at ${piece.offset} instead of ${end}`);
    const bytes = piece.kind === "data" ? piece.bytes : Buffer.alloc(piece.lengthBytes);
    hash.update(bytes);
    end += bytes.length;
  }
  if (end !== file.sizeBytes) throw new Error(`${end} bytes came instead of ${file.sizeBytes}`);
  return hash.digest("hex");
}
