/** A host's own list of what is to be saved: `/etc/backup.conf`, one path a line. The host may be hostile. */
import { UsageError } from "../../errors.ts";
import { normaliseRemotePath } from "../../source/rsync/remote-command.ts";

export const BACKUP_CONF = "/etc/backup.conf";
/** More than this nobody reads. */
export const MOST_CONF_BYTES = 256 * 1024;
const MOST_PATHS = 1000;
const LONGEST_PATH = 4096;

export interface ListedPaths {
  readonly paths: readonly string[];
  /** What is wrong with some lines, for people. */
  readonly problems: readonly string[];
}

/** Empty lines and those that begin with `#` say nothing. What is no full path is named, and left out. */
export function parseBackupConf(bytes: Uint8Array): ListedPaths {
  const paths = new Set<string>();
  const problems: string[] = [];
  const lines = splitLines(bytes);
  for (const [index, line] of lines.entries()) {
    if (line !== undefined && (line === "" || line.startsWith("#"))) continue;
    const path = line === undefined ? undefined : fullPath(line);
    if (path === undefined) problems.push(`line ${index + 1} of ${BACKUP_CONF} is no full path, and is left out`);
    else if (paths.size < MOST_PATHS) paths.add(path);
    else {
      problems.push(`${BACKUP_CONF} names more than ${MOST_PATHS} paths: those from line ${index + 1} on are left out`);
      break;
    }
    if (problems.length > MOST_PATHS) break;
  }
  return { paths: withoutNested([...paths]), problems };
}

/** Trimmed; undefined where a line is not UTF-8. */
function splitLines(bytes: Uint8Array): (string | undefined)[] {
  const lines: (string | undefined)[] = [];
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  for (const line of Buffer.from(bytes).toString("latin1").split("\n")) {
    try {
      lines.push(decoder.decode(Buffer.from(line, "latin1")).trim());
    } catch {
      lines.push(undefined);
    }
  }
  return lines;
}

function fullPath(line: string): string | undefined {
  if (!line.startsWith("/") || line.length > LONGEST_PATH || /[\p{Cc}\p{Cs}]/u.test(line)) return undefined;
  try {
    return normaliseRemotePath(line);
  } catch (error) {
    if (error instanceof UsageError) return undefined;
    throw error;
  }
}

/** Sorted, and without what lies below another: it comes with that. */
export function withoutNested(paths: readonly string[]): string[] {
  const kept: string[] = [];
  const all = new Set(paths);
  for (const path of [...all].toSorted()) if (!hasParentIn(path, all)) kept.push(path);
  return kept;
}

function hasParentIn(path: string, all: ReadonlySet<string>): boolean {
  if (path !== "/" && all.has("/")) return true;
  for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
    if (all.has(path.slice(0, end))) return true;
  }
  return false;
}
