/** One entry of a snapshot, for people and for programs. */
import type { TreeEntry } from "../format/tree.ts";
import { displayPath, type RawPath } from "../platform/raw-path.ts";
import { formatBytes } from "./output/format-bytes.ts";
import { formatRfc3339, formatTime } from "./output/format-time.ts";

/** Names of types as in restic. */
const TYPE_NAMES = {
  file: "file",
  directory: "dir",
  symlink: "symlink",
  fifo: "fifo",
  socket: "socket",
  char: "chardev",
  block: "dev",
} as const;

const TYPE_LETTERS = {
  file: "-",
  directory: "d",
  symlink: "l",
  fifo: "p",
  socket: "s",
  char: "c",
  block: "b",
} as const;

/** Like `ls -l`: permissions, owner, group, size, time, path, target of a link. */
export function longLine(path: RawPath, entry: TreeEntry, humanReadable: boolean): string {
  const owner = `${String(entry.uid).padStart(5)} ${String(entry.gid).padStart(5)}`;
  const size = humanReadable ? formatBytes(sizeOf(entry)).padStart(11) : String(sizeOf(entry)).padStart(10);
  const target = entry.type === "symlink" ? ` -> ${displayPath(entry.target)}` : "";
  return `${permissions(entry)} ${owner} ${size} ${formatTime(entry.mtimeSeconds * 1000)} /${displayPath(path)}${target}`;
}

export function shortLine(path: RawPath): string {
  return `/${displayPath(path)}`;
}

/** As a `node` of restic's `ls --json`, without what is not stored. */
export function entryJson(path: RawPath, entry: TreeEntry): object {
  return {
    name: displayPath(entry.name),
    type: TYPE_NAMES[entry.type],
    path: `/${displayPath(path)}`,
    uid: entry.uid,
    gid: entry.gid,
    ...(entry.user !== "" && { user: entry.user }),
    ...(entry.group !== "" && { group: entry.group }),
    ...(entry.type === "file" && { size: entry.sizeBytes }),
    mode: entry.mode,
    permissions: permissions(entry),
    mtime: formatRfc3339(entry.mtimeSeconds, entry.mtimeNanoseconds),
    ...(entry.type === "symlink" && { link_target: displayPath(entry.target) }),
  };
}

/** `drwxr-xr-x`, with s and t as in `ls`. */
export function permissions({ type, mode }: TreeEntry): string {
  const letters = [8, 7, 6, 5, 4, 3, 2, 1, 0].map((bit) => ((mode >> bit) & 1 ? "rwx"[(8 - bit) % 3] : "-"));
  const special = (at: number, bit: number, letter: string) => {
    if (mode & bit) letters[at] = letters[at] === "x" ? letter : letter.toUpperCase();
  };
  special(2, 0o4000, "s");
  special(5, 0o2000, "s");
  special(8, 0o1000, "t");
  return TYPE_LETTERS[type] + letters.join("");
}

function sizeOf(entry: TreeEntry): number {
  return entry.type === "file" ? entry.sizeBytes : 0;
}
