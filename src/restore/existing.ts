import type { FileStat } from "../platform/file-stat.ts";
import type { TreeEntry } from "../format/tree.ts";

/**
 * What to do where the target has something of that name already; restic's words. `always`: it becomes as the snapshot
 * has it. `if-changed`: the same, but a file of equal size and time is taken to have the right content. `if-newer`: only
 * where the snapshot's is younger. `never`: it is left alone.
 */
export type Overwrite = "always" | "if-changed" | "if-newer" | "never";

export function mayOverwrite(overwrite: Overwrite, entry: TreeEntry, existing: FileStat): boolean {
  switch (overwrite) {
    case "always":
    case "if-changed":
      return true;
    case "if-newer":
      return (
        entry.mtimeSeconds > existing.mtimeSeconds ||
        (entry.mtimeSeconds === existing.mtimeSeconds && entry.mtimeNanoseconds > existing.mtimeNanoseconds)
      );
    case "never":
      return false;
  }
}

export function hasSameTime(entry: TreeEntry, existing: FileStat): boolean {
  return entry.mtimeSeconds === existing.mtimeSeconds && entry.mtimeNanoseconds === existing.mtimeNanoseconds;
}

/** Whether a kill in the middle could leave a file that the next run would take for one that it must not touch. */
export function needsWholeFiles(overwrite: Overwrite): boolean {
  return overwrite === "if-newer" || overwrite === "never";
}
