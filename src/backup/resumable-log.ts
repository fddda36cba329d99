import { renameSync, rmSync, statSync } from "node:fs";
import { createWalkLog, openWalkLog, type KnownEntries, type WalkLogWriter } from "./walk-log.ts";

/**
 * A walk log for sources whose content costs a transfer: where a run does not come to its end, what it saw is kept beside
 * the log of the last whole run, so that the next one need not ask for it again. It never makes a snapshot by itself: what
 * it says is only believed as far as the repository holds the blobs.
 */
export interface ResumableLog {
  readonly known: KnownEntries | undefined;
  readonly log: WalkLogWriter;
}

export function openResumableLog(path: string): ResumableLog {
  const partialPath = `${path}.partial`;
  const known = both(openWalkLog(partialPath), openWalkLog(path));
  const interruptedPath = `${path}.interrupted`;
  const writer = createWalkLog(interruptedPath);
  return {
    known,
    log: {
      add: (record) => writer.add(record),
      commit: () => {
        writer.commit();
        renameSync(interruptedPath, path);
        rmSync(partialPath, { force: true });
      },
      discard: () => {
        writer.commit();
        // An earlier run may have come further.
        if (sizeOf(interruptedPath) >= sizeOf(partialPath)) renameSync(interruptedPath, partialPath);
        else rmSync(interruptedPath);
      },
    },
  };
}

/** What is unchanged since the one that was interrupted, or else since the last whole one. */
function both(interrupted: KnownEntries | undefined, whole: KnownEntries | undefined): KnownEntries | undefined {
  if (interrupted === undefined || whole === undefined) return interrupted ?? whole;
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
