import type { FileStat, FileType } from "../../platform/file-stat.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import type { SourceEntry } from "../../source/source.ts";

/** What a source might list, last changed long ago. */
export function madeUpEntry(path: string, type: FileType, sizeBytes: number): SourceEntry {
  const parts = path === "" ? [] : path.split("/");
  const times = { mtimeSeconds: 1e9, mtimeNanoseconds: 5, ctimeSeconds: 1e9, ctimeNanoseconds: 6 };
  const devices = { deviceMajor: 0, deviceMinor: 0, rdevMajor: 0, rdevMinor: 0 };
  const numbers = { ...devices, inodeFlags: 0, inodeHigh: 0, inodeLow: 0 };
  const stat: FileStat = {
    type,
    mode: 0o644,
    uid: 0,
    gid: 0,
    sizeBytes,
    links: 1,
    allocatedBytes: 0,
    ...times,
    ...numbers,
  };
  return { path: path as RawPath, name: (parts.at(-1) ?? "") as RawPath, depth: parts.length, stat };
}
