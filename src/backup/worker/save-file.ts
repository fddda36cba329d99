import { errnoOf, HoldfastError, messageOf } from "../../errors.ts";
import { type ExtendedAttribute, type Hole, lengthOf } from "../../format/tree.ts";
import { readXattrsFd } from "../../platform/extended-attributes.ts";
import type { FileStat } from "../../platform/file-stat.ts";
import { dataHoles } from "../../platform/file-data.ts";
import { closeFd, OPEN, openBeneath } from "../../platform/open.ts";
import type { RawPath } from "../../platform/raw-path.ts";
import { statFd } from "../../platform/stat.ts";
import { type ContentSaver, type SavedContent, SMALL_FILE_BYTES } from "./content-saver.ts";
import type { ExpectedStat, FileResult, FileToRead, SegmentTask } from "./messages.ts";

/** Files above this are not read a second time when they were changed in the meantime. */
const READ_AGAIN_BYTES = 64 * 1024 * 1024;

/** Reads one file whole. Whatever goes wrong is told in the result. */
export function saveFile(saver: ContentSaver, file: FileToRead): FileResult {
  return withOpenFile(file, (fd) => {
    let before: ExpectedStat = file.stat;
    for (let attempt = 1; ; attempt++) {
      const { content, holes, sizeBytes } = saveContent(saver, fd, before);
      // Each time anew, and before the look whether anything has changed: they change with the same time as content.
      const xattrs = readXattrsFd(fd);
      const after = statFd(fd);
      if (after.type !== "file")
        return { failure: { during: "read", message: "it is not a file any more", code: undefined } };
      const changed = isChanged(before, after) || sizeBytes !== after.sizeBytes;
      if (changed && attempt === 1 && after.sizeBytes <= READ_AGAIN_BYTES) {
        before = after;
        continue;
      }
      return {
        ...content,
        holes,
        xattrs,
        stat: changed || before !== file.stat ? { ...after, sizeBytes } : undefined,
        changedWhileRead: changed,
      };
    }
  });
}

/** Reads a part of a large file; holes, attributes and changes are the main thread's to look at. */
export function saveSegment(saver: ContentSaver, task: SegmentTask): FileResult {
  return orFailure("read", () => {
    const { readBytes, ...content } = saver.saveRanges(task.fd, task.ranges);
    const wanted = lengthOf(task.ranges);
    return { ...content, holes: NO_HOLES, xattrs: NO_XATTRS, stat: undefined, changedWhileRead: readBytes < wanted };
  });
}

const NO_HOLES: readonly Hole[] = [];
const NO_XATTRS: readonly ExtendedAttribute[] = [];

interface ReadContent {
  readonly content: SavedContent;
  readonly holes: readonly Hole[];
  /** What was read, holes included. */
  readonly sizeBytes: number;
}

function saveContent(saver: ContentSaver, fd: number, stat: ExpectedStat): ReadContent {
  if (stat.allocatedBytes >= stat.sizeBytes && stat.sizeBytes <= SMALL_FILE_BYTES) {
    const content = saver.saveSmallFile(fd, stat.sizeBytes);
    if (content !== undefined) return { content, holes: NO_HOLES, sizeBytes: stat.sizeBytes };
  }
  const holes = holesOf(fd, stat);
  const ranges = dataRanges(holes, stat.sizeBytes);
  const { readBytes, ...content } = saver.saveRanges(fd, ranges);
  const expected = lengthOf(ranges);
  if (readBytes === expected) return { content, holes, sizeBytes: stat.sizeBytes };
  return { content, ...endedEarly(holes, readBytes) };
}

/** Holes and size of a file that ended after `readBytes` of its data, so that both agree with what was read. */
function endedEarly(holes: readonly Hole[], readBytes: number): { holes: readonly Hole[]; sizeBytes: number } {
  let at = 0;
  let data = 0;
  const kept: Hole[] = [];
  for (const hole of holes) {
    if (data + (hole.offset - at) >= readBytes) break;
    data += hole.offset - at;
    at = hole.offset + hole.lengthBytes;
    kept.push(hole);
  }
  return { holes: kept, sizeBytes: at + (readBytes - data) };
}

/** So many holes are kept of a file: a tree blob must have room for them. */
const MAXIMUM_HOLES = 4096;

/** The holes of an open file. Where there are very many, the smallest are taken for data, and read as the zeros they are. */
export function holesOf(fd: number, stat: Pick<ExpectedStat, "sizeBytes" | "allocatedBytes">): readonly Hole[] {
  if (stat.allocatedBytes >= stat.sizeBytes) return NO_HOLES;
  return largestHoles(dataHoles(fd, stat.sizeBytes), MAXIMUM_HOLES);
}

/** The `count` largest, in the order in which they lie. */
export function largestHoles(holes: readonly Hole[], count: number): readonly Hole[] {
  if (holes.length <= count) return holes;
  const bySize = holes.map((_, place) => place).sort((a, b) => holes[b].lengthBytes - holes[a].lengthBytes || a - b);
  const kept = bySize.slice(0, count).sort((a, b) => a - b);
  return kept.map((place) => holes[place]);
}

/** What lies between holes. */
export function dataRanges(holes: readonly Hole[], sizeBytes: number): { offset: number; lengthBytes: number }[] {
  const ranges: { offset: number; lengthBytes: number }[] = [];
  let at = 0;
  for (const hole of holes) {
    if (hole.offset > at) ranges.push({ offset: at, lengthBytes: hole.offset - at });
    at = hole.offset + hole.lengthBytes;
  }
  if (at < sizeBytes) ranges.push({ offset: at, lengthBytes: sizeBytes - at });
  return ranges;
}

export function isChanged(before: ExpectedStat, after: FileStat): boolean {
  return (
    before.sizeBytes !== after.sizeBytes ||
    before.mtimeNanoseconds !== after.mtimeNanoseconds ||
    before.mtimeSeconds !== after.mtimeSeconds ||
    before.ctimeNanoseconds !== after.ctimeNanoseconds ||
    before.ctimeSeconds !== after.ctimeSeconds
  );
}

/** O_NOATIME is only for owners; others read without it. */
export function openForReading(rootFd: number, path: RawPath): number {
  const flags = OPEN.NOFOLLOW | OPEN.NONBLOCK;
  try {
    return openBeneath(rootFd, path, flags | OPEN.NOATIME);
  } catch (error) {
    if (errnoOf(error) !== "EPERM") throw error;
    return openBeneath(rootFd, path, flags);
  }
}

function withOpenFile(file: FileToRead, use: (fd: number) => FileResult): FileResult {
  return orFailure("open", () => {
    const fd = openForReading(file.rootFd, file.path);
    try {
      return orFailure("read", () => use(fd));
    } finally {
      closeFd(fd);
    }
  });
}

function orFailure(during: string, work: () => FileResult): FileResult {
  try {
    return work();
  } catch (error) {
    // After any other error a blob may be claimed and not stored, and other files would count on it.
    if (!isSystemFailure(error)) throw error;
    return { failure: { during, message: messageOf(error), code: errnoOf(error) } };
  }
}

/** Whether the kernel would not do it: then it is this file that cannot be saved, and not the whole backup. */
export function isSystemFailure(error: unknown): boolean {
  return !(error instanceof HoldfastError) && /^E[A-Z0-9]+$/.test(errnoOf(error) ?? "");
}
