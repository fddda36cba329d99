import { errnoOf } from "../errors.ts";
import type { SourceProblem } from "./source.ts";

/** What `SourceProblem.during` says of a place named to be saved that is not there. */
export const DURING_FIND = "find";

/**
 * Whether a problem is only that a file went away between being listed and being looked at or opened, as temporary files
 * do. A place that was named to be saved, and is not there, is more than that.
 */
export function isVanished(problem: SourceProblem): boolean {
  const code = errnoOf(problem.error);
  return (code === "ENOENT" || code === "ESTALE") && problem.during !== DURING_FIND;
}
