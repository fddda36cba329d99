import { UsageError } from "../errors.ts";
import { compilePathPattern, matchablePath } from "../browse/path-pattern.ts";
import type { RawPath } from "../platform/raw-path.ts";
import { compileExcludes } from "../source/local/exclude-patterns.ts";

/** Patterns by the rules of gitignore, as `backup --exclude` has them. Only includes, or only excludes, or none. */
export interface SelectionPatterns {
  readonly include?: readonly string[];
  readonly includeIgnoringCase?: readonly string[];
  readonly exclude?: readonly string[];
  readonly excludeIgnoringCase?: readonly string[];
}

export interface Selected {
  /** It is restored. */
  readonly itself: boolean;
  /** Something below this directory may be. */
  readonly below: boolean;
}

/** Tells for each path (without a slash at the start) whether it is restored. */
export type Select = (path: RawPath, isDirectory: boolean) => Selected;

const ALL: Selected = { itself: true, below: true };
const NOTHING: Selected = { itself: false, below: false };

/** Undefined stands for everything. Throws `UsageError` for patterns of both kinds. */
export function compileSelection(patterns: SelectionPatterns): Select | undefined {
  const { include = [], includeIgnoringCase = [], exclude = [], excludeIgnoringCase = [] } = patterns;
  const isExcluded = compileExcludes({ patterns: exclude, patternsIgnoringCase: excludeIgnoringCase });
  const isIncluded = compileExcludes({ patterns: include, patternsIgnoringCase: includeIgnoringCase });
  if (isExcluded !== undefined && isIncluded !== undefined) {
    throw new UsageError("include and exclude patterns cannot be used together");
  }
  if (isExcluded !== undefined) {
    return (path, isDirectory) => (isExcluded(textOf(path, isDirectory)) ? NOTHING : ALL);
  }
  if (isIncluded === undefined) return undefined;
  const mayMatchBelow = compileMayMatchBelow(include, includeIgnoringCase);
  return (path, isDirectory) => {
    if (isIncluded(textOf(path, isDirectory))) return ALL;
    return { itself: false, below: isDirectory && mayMatchBelow(path) };
  };
}

function textOf(path: RawPath, isDirectory: boolean): string {
  return isDirectory ? `${matchablePath(path)}/` : matchablePath(path);
}

/** Keeps a restore of `/home/ann` from reading every other folder. */
function compileMayMatchBelow(
  include: readonly string[],
  includeIgnoringCase: readonly string[],
): (folder: RawPath) => boolean {
  const all = [
    ...include.map((text) => ({ text, ignoreCase: false })),
    ...includeIgnoringCase.map((text) => ({ text, ignoreCase: true })),
  ];
  // What is taken back by a later pattern cannot bring in more.
  const bringingIn = all.filter(({ text }) => !text.startsWith("!"));
  if (bringingIn.some(({ text }) => !text.startsWith("/"))) return () => true;
  const patterns = bringingIn.map(({ text, ignoreCase }) => compilePathPattern(text, { ignoreCase }));
  return (folder) => {
    const path = matchablePath(folder);
    return patterns.some((pattern) => pattern.mayMatchBelow(path));
  };
}
