import { createKeyedHash } from "../crypto/keyed-hash.ts";
import type { FileStat } from "../platform/file-stat.ts";
import { type RawPath, rawPathToBytes } from "../platform/raw-path.ts";
import type { ReadFile } from "./file-reader.ts";
import type { KnownEntry } from "./walk-log.ts";

/** All names of one inode, as far as the walk has met them. */
export interface LinkGroup {
  /** 16 bytes that stand in the trees in place of the inode. */
  id: Buffer | undefined;
  /** What the last run knows by one of the names, if the content is still the same. */
  known: KnownEntry | undefined;
  /** The content, read once for all names. */
  read: ReadFile | undefined;
}

/**
 * Recognises the names of one inode. Forgets an inode when all its names were met, so that only those are held whose
 * other names are still to come (or lie outside of what is saved).
 */
export interface HardLinks {
  /** The group that an entry belongs to; undefined where the inode has only this name. */
  groupOf(stat: FileStat): LinkGroup | undefined;
  /** The id for a group that has none yet: made from its first path, so that it is the same in the next snapshot. */
  idFor(group: LinkGroup, firstPath: RawPath): Buffer;
}

export function createHardLinks(linkKey: Uint8Array): HardLinks {
  const hash = createKeyedHash(linkKey);
  const groups = new Map<string, { readonly group: LinkGroup; namesLeft: number }>();
  return {
    groupOf(stat) {
      if (stat.links < 2 || stat.type === "directory") return undefined;
      const key = `${stat.deviceMajor}:${stat.deviceMinor}:${stat.inodeHigh}:${stat.inodeLow}`;
      let known = groups.get(key);
      if (known === undefined) {
        known = { group: { id: undefined, known: undefined, read: undefined }, namesLeft: stat.links };
        groups.set(key, known);
      }
      if (--known.namesLeft === 0) groups.delete(key);
      return known.group;
    },
    idFor(group, firstPath) {
      group.id ??= hash.hash(rawPathToBytes(firstPath)).subarray(0, 16);
      return group.id;
    },
  };
}
