import path from "node:path";
import { errnoOf, messageOf, StorageError, UsageError } from "../errors.ts";
import type { DirectoryEntry } from "../format/tree.ts";
import { readXattrsFd } from "../platform/extended-attributes.ts";
import { makeFolder } from "../platform/make-folder.ts";
import { closeFd, OPEN, openPath } from "../platform/open.ts";
import { rawPathFromText } from "../platform/raw-path.ts";
import { statFd } from "../platform/stat.ts";
import { hasAccessAclOf } from "./attributes.ts";
import type { RestoreOptions, RestoreResult } from "./options.ts";
import { createRun, type Target } from "./run.ts";

export { createRestoreProgress } from "./options.ts";
export type { RestoreAction, RestoreOptions, RestoreResult } from "./options.ts";

/**
 * Restores a snapshot, or a directory of it, into a folder. A run that was stopped is gone on with by running it again:
 * what is whole is recognised and left alone.
 *
 * Throws `UsageError`, `StorageError` where the target cannot take more, `InterruptedError`; whatever concerns single
 * entries is told to `onProblem`.
 */
export async function restoreSnapshot(options: RestoreOptions): Promise<RestoreResult> {
  checkOptions(options);
  const target = openTarget(options);
  const run = createRun(options, target);
  try {
    await run.restoreAll();
    return run.result();
  } finally {
    await run.close();
    if (target.fd >= 0) closeFd(target.fd);
  }
}

function checkOptions(options: RestoreOptions): void {
  if (options.deleteExtra === true && path.resolve(options.target) === "/" && options.select === undefined) {
    throw new UsageError("to delete in / whatever the snapshot does not have takes include or exclude patterns");
  }
  if (options.dryRun === true && options.verify === true) {
    throw new UsageError("a dry run writes nothing that could be verified");
  }
}

/**
 * A target that a restore makes has this mode until it gets the snapshot's, as the last of its attributes. A sticky bit on a
 * folder that only its owner may enter has no use, so nobody else sets it; and a folder is never there without its mode,
 * wherever a restore is killed.
 */
const UNFINISHED_MODE = 0o1700;

function openTarget({ target, view, dryRun }: RestoreOptions): Target {
  const full = path.resolve(target);
  try {
    const isNew = dryRun !== true && makeFolder(full, UNFINISHED_MODE);
    const fd = openPath(rawPathFromText(full), OPEN.READ | OPEN.DIRECTORY);
    return { fd, isNew, becomesCopy: view.top.name !== "" && (isNew || isUnfinished(fd, view.top)) };
  } catch (error) {
    const code = errnoOf(error instanceof StorageError ? error.cause : error);
    if (dryRun === true && code === "ENOENT") return { fd: -1, isNew: true, becomesCopy: false };
    if (code === "ENOTDIR" || code === "EEXIST")
      throw new UsageError(`the target ${target} is not a folder`, { cause: error });
    if (error instanceof StorageError) throw error;
    throw new StorageError(`the target ${target} cannot be used: ${messageOf(error)}`, { cause: error });
  }
}

function isUnfinished(fd: number, top: DirectoryEntry): boolean {
  // A new folder is setgid where the one that it is in is.
  const mode = statFd(fd).mode & ~0o2000;
  if (mode === UNFINISHED_MODE) return true;
  // Or it was killed after it had got its ACL, which brings the rest of the mode with it.
  const wasKilledAfterAcl = mode === (0o1000 | (top.mode & 0o777)) && top.mode !== mode;
  return wasKilledAfterAcl && hasAccessAclOf(top, readXattrsFd(fd));
}
