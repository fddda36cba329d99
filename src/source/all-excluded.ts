import { UsageError } from "../errors.ts";

/** For a source of which nothing is left: better no snapshot than one of empty folders. */
export function allExcluded(): UsageError {
  return new UsageError("there is nothing to save: all that was named is excluded, or went away", {
    hint: "Look at the exclude patterns: they also hold for what is named, and for all folders above it.",
  });
}
