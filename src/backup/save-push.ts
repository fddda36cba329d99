import type { RawPath } from "../platform/raw-path.ts";
import { acceptPush } from "../source/rsync/index.ts";
import type { ServerTransport } from "../source/rsync/index.ts";
import type { BackupResult } from "./backup.ts";
import { backupToRepository, findParentSnapshot, type RepositoryBackupOptions } from "./backup-to-repository.ts";
import { previousVersions } from "./previous-versions.ts";

/** A stock rsync's push that becomes a snapshot. */
export interface SavePushOptions extends Omit<
  RepositoryBackupOptions,
  "source" | "paths" | "dryRun" | "resumes" | "excludes" | "onParent"
> {
  readonly transport: ServerTransport;
  /** What the rsync at the other end asked ssh to start. */
  readonly command: string;
  /** Told of the snapshot, once it is safe. */
  readonly onSnapshot?: ((result: BackupResult) => void) | undefined;
}

/** Snapshots of pushes belong together, whatever was pushed. */
const PUSHED_PATHS = ["/" as RawPath];

/**
 * Saves what a stock rsync pushes as a snapshot, committed only when that rsync has sent all; an interrupted one goes on
 * when it is run again. Resolves with the exit status for the process that stands in for `rsync --server`. Never throws:
 * what goes wrong is told to the one who pushes.
 */
export function savePush(options: SavePushOptions): Promise<number> {
  const { transport, command, onSnapshot, ...backupOptions } = options;
  const previous = previousVersions();
  const { repository, host, parent, force } = backupOptions;
  const known = findParentSnapshot(repository, host, PUSHED_PATHS, { parent, force }).then((found) => {
    if (found !== undefined) previous.setParent(repository, found);
  });
  // Whoever asks for a previous version is told of a failure; until then it is nobody's.
  known.catch(() => undefined);
  return acceptPush(transport, command, {
    onProblem: options.onProblem,
    previous: async (path) => {
      await known;
      return previous.content(path);
    },
    previousTree: async () => {
      await known;
      return previous.view();
    },
    save: async (source) => {
      const result = await backupToRepository({
        ...backupOptions,
        source,
        paths: PUSHED_PATHS,
        excludes: [],
        resumes: true,
      });
      onSnapshot?.(result);
    },
  });
}
