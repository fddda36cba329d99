import path from "node:path";
import { errnoOf, messageOf, StorageError, UsageError } from "../errors.ts";
import { readXattrsFd, setXattrFd } from "../platform/extended-attributes.ts";
import { makeFolder } from "../platform/make-folder.ts";
import { closeFd, OPEN, openPath } from "../platform/open.ts";
import { rawPathFromText } from "../platform/raw-path.ts";
import { isNotPossible } from "./attributes.ts";
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

/** On a target from when a restore makes it until it gets its attributes, which take this one away. */
const UNFINISHED = { name: rawPathFromText("user.holdfast.unfinished"), value: Buffer.from("1") };

function openTarget({ target, view, dryRun }: RestoreOptions): Target {
  const full = path.resolve(target);
  try {
    const isNew = dryRun !== true && makeFolder(full);
    const fd = openPath(rawPathFromText(full), OPEN.READ | OPEN.DIRECTORY);
    return { fd, isNew, becomesCopy: view.top.name !== "" && (isNew ? markUnfinished(fd) : isUnfinished(fd)) };
  } catch (error) {
    const code = errnoOf(error instanceof StorageError ? error.cause : error);
    if (dryRun === true && code === "ENOENT") return { fd: -1, isNew: true, becomesCopy: false };
    if (code === "ENOTDIR" || code === "EEXIST")
      throw new UsageError(`the target ${target} is not a folder`, { cause: error });
    if (error instanceof StorageError) throw error;
    throw new StorageError(`the target ${target} cannot be used: ${messageOf(error)}`, { cause: error });
  }
}

function markUnfinished(fd: number): true {
  try {
    setXattrFd(fd, UNFINISHED);
  } catch (error) {
    // Without it a restore that goes on leaves the target's own attributes as they are.
    if (!isNotPossible(error)) throw error;
  }
  return true;
}

function isUnfinished(fd: number): boolean {
  return readXattrsFd(fd).some(({ name }) => name === UNFINISHED.name);
}
