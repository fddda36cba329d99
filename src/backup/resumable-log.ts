import { renameSync, rmSync, statSync } from "node:fs";
import {
  createWalkLog,
  openWalkLog,
  type IgnoredDifferences,
  type KnownEntries,
  type WalkLogWriter,
} from "./walk-log.ts";

/**
 * A walk log for sources whose content costs a transfer: where a run does not come to its end, what it saw is kept beside
 * the log of the last whole run, so that the next one need not ask for it again. It never makes a snapshot by itself: what
 * it says is only believed as far as the repository holds the blobs.
 */
export interface ResumableLog {
  readonly known: KnownEntries | undefined;
  readonly log: WalkLogWriter;
}

export function openResumableLog(path: string, ignored?: IgnoredDifferences): ResumableLog {
  const partialPath = `${path}.partial`;
  const partial = openWalkLog(partialPath, ignored);
  const whole = openWalkLog(path, ignored);
  const interruptedPath = `${path}.interrupted`;
  // With two logs, a place in one of them says nothing.
  const single = partial === undefined || whole === undefined ? (partial ?? whole) : undefined;
  const writer = createWalkLog(interruptedPath, single);
  return {
    known: partial !== undefined && whole !== undefined ? both(partial, whole) : single,
    log: {
      add: (record) => writer.add(record),
      addFolder: (folder) => writer.addFolder(folder),
      addFolderEnd: (depth, treeIds) => writer.addFolderEnd(depth, treeIds),
      commit: () => {
        writer.commit();
        // Where all is as it was, the log that tells so stays.
        if (writer.hasDiverged()) renameSync(interruptedPath, path);
        else if (whole === undefined) renameSync(partialPath, path);
        rmSync(partialPath, { force: true });
      },
      discard: () => {
        // All that was seen stands in the log that there is.
        if (!writer.hasDiverged()) return;
        writer.commit();
        // An earlier run may have come further.
        if (sizeOf(interruptedPath) >= sizeOf(partialPath)) renameSync(interruptedPath, partialPath);
        else rmSync(interruptedPath);
      },
    },
  };
}

/** What is unchanged since the one that was interrupted, or else since the last whole one. */
function both(interrupted: KnownEntries, whole: KnownEntries): KnownEntries {
  return {
    match: (entry) => {
      const [later, earlier] = [interrupted.match(entry), whole.match(entry)];
      return later !== undefined && later.same !== "nothing" ? later : (earlier ?? later);
    },
    close: () => {
      interrupted.close();
      whole.close();
    },
  };
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
