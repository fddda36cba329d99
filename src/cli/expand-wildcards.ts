/** Wildcards in lists of paths, as Go's `filepath.Glob` and so restic takes them; by bytes, as names are. */
import { readdirSync } from "node:fs";
import { compilePathPattern, matchablePath } from "../browse/path-pattern.ts";
import { messageOf, UsageError } from "../errors.ts";
import { displayPath, joinRaw, rawPathFromBytes, type RawPath, rawPathToBytes } from "../platform/raw-path.ts";
import { AT_FDCWD } from "../platform/open.ts";
import { statAt } from "../platform/stat.ts";

/**
 * Paths that match, in order: `*` and `?` never stand for a slash, `[a-z]` for one of a set, and `\` takes the next
 * character as it is. The pattern itself where nothing matches, so that it is missed like any other path that is not
 * there. Throws `UsageError` for a pattern that makes no sense.
 */
export function expandWildcards(pattern: RawPath): RawPath[] {
  if (!/[*?[\\]/.test(pattern)) return [pattern];
  let found: RawPath[] = [pattern.startsWith("/") ? ("/" as RawPath) : ("" as RawPath)];
  for (const part of pattern.split("/").filter((one) => one !== "") as RawPath[]) {
    found = found.flatMap((folder) => matchesIn(folder, part, pattern));
  }
  return found.length === 0 ? [pattern] : found;
}

function matchesIn(folder: RawPath, part: RawPath, pattern: RawPath): RawPath[] {
  const within = (name: RawPath) => (folder === "/" ? (`/${name}` as RawPath) : joinRaw(folder, name));
  if (!/[*?[\\]/.test(part)) return isThere(within(part)) ? [within(part)] : [];
  const { matches } = compile(part, pattern);
  const names = namesIn(folder === "" ? ("." as RawPath) : folder);
  return names.filter((name) => matches(matchablePath(name))).map(within);
}

function compile(part: RawPath, pattern: RawPath) {
  try {
    return compilePathPattern(`/${matchablePath(part)}`, { ignoreCase: false });
  } catch (error) {
    throw new UsageError(`in the list of files, ${messageOf(error)}`, {
      cause: error,
      hint: `${displayPath(pattern)}: use --files-from-verbatim where names are meant as they are`,
    });
  }
}

function isThere(path: RawPath): boolean {
  try {
    statAt(AT_FDCWD, path);
    return true;
  } catch {
    return false;
  }
}

function namesIn(folder: RawPath): RawPath[] {
  try {
    const names = readdirSync(rawPathToBytes(folder), { encoding: "buffer" });
    return names.map(rawPathFromBytes).toSorted((a, b) => (a < b ? -1 : 1));
  } catch {
    // No folder, or none of ours: then nothing in it matches.
    return [];
  }
}
