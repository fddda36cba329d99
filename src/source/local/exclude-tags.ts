/**
 * Files whose presence says that the rest of their folder need not be saved. As in restic, the folder itself and the
 * tag are saved, so that the tag is in its place again after a restore.
 */
import { readSync } from "node:fs";
import { closeFd, OPEN, openAt } from "../../platform/open.ts";
import { rawPathFromText, type RawPath } from "../../platform/raw-path.ts";
import { statFd } from "../../platform/stat.ts";

export interface ExcludeTag {
  readonly name: RawPath;
  /** What the file must begin with; empty if its being there is enough. */
  readonly header: Uint8Array;
}

/** The Cache Directory Tagging Specification (bford.info/cachedir). */
export const CACHE_DIRECTORY_TAG = parseExcludeTag("CACHEDIR.TAG:Signature: 8a477f597d28d172789f06886806bc55");

/** `NAME` or `NAME:HEADER`. */
export function parseExcludeTag(text: string): ExcludeTag {
  const colon = text.indexOf(":");
  return {
    name: rawPathFromText(colon < 0 ? text : text.slice(0, colon)),
    header: Buffer.from(colon < 0 ? "" : text.slice(colon + 1), "utf8"),
  };
}

/** Which of the tags a folder has. `found` are those of their names that are in it. */
export function tagsIn(folderFd: number, found: readonly RawPath[], tags: readonly ExcludeTag[]): RawPath[] {
  const present = tags.filter((tag) => found.includes(tag.name) && hasHeader(folderFd, tag));
  return present.map((tag) => tag.name).sort();
}

function hasHeader(folderFd: number, { name, header }: ExcludeTag): boolean {
  if (header.length === 0) return true;
  try {
    // Opening a FIFO would wait for its other end.
    const fd = openAt(folderFd, name, OPEN.READ | OPEN.NONBLOCK | OPEN.NOFOLLOW);
    try {
      const start = Buffer.alloc(header.length);
      return (
        statFd(fd).type === "file" && readSync(fd, start, 0, start.length, 0) === start.length && start.equals(header)
      );
    } finally {
      closeFd(fd);
    }
  } catch {
    // What cannot be read is no tag: rather too much is saved than too little.
    return false;
  }
}
