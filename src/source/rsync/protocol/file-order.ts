import { isDirectory } from "./file-list.ts";
import type { FileList } from "./file-list.ts";
import { RsyncProtocolError } from "./rsync-error.ts";

/**
 * The order in which an rsync numbers the entries of a list, and the one in which we walk them.
 *
 * rsync's (flist.c, f_name_cmp, from protocol 29 on): in each directory first what is not a directory, by bytes; then
 * the directories, by the bytes of their names with a slash after them; each directory is followed at once by what is in
 * it, and `.` stands first of all. Duplicates keep their numbers; the first one counts, and a directory counts more than
 * what is not one. Ours: in each directory all names together, by bytes.
 */
export interface FileOrder {
  /** For a directory: where its entries lie in `sorted`, those that are not directories first. */
  readonly group: (directory: number) => DirectoryGroup;
  /**
   * Entries, directory after directory, each in rsync's order as soon as its group was asked for. A directory that is only
   * implied has its number, negated and less 1.
   */
  readonly sorted: Int32Array;
  /** rsync's number of a directory's own entry. */
  readonly indexOfDirectory: (directory: number) => number;
  /** rsync's number of an entry that is not a directory, by its place in `sorted` and the directory that it lies in. */
  readonly indexAt: (at: number, directory: number) => number;
  /** How many numbers there are: that of the entries. */
  readonly count: number;
}

export interface DirectoryGroup {
  readonly start: number;
  /** Where directories begin. */
  readonly directories: number;
  readonly end: number;
}

/**
 * What nobody asks for is not done: an unchanged host's files need no numbers, and most of its folders are not looked
 * into.
 */
export function orderFiles(list: FileList): FileOrder {
  const starts = groupStarts(list);
  const sorted = groupByDirectory(list, starts);
  const middles = new Uint32Array(list.directoryCount);
  const isParted = new Uint8Array(list.directoryCount);
  const isSorted = new Uint8Array(list.directoryCount);
  let numbers: EntryNumbers | undefined;

  function middleOf(directory: number): number {
    if (isParted[directory] === 0) {
      middles[directory] = sortDirectories(list, sorted, starts[directory], starts[directory + 1]);
      isParted[directory] = 1;
    }
    return middles[directory];
  }

  const numbered = (): EntryNumbers => (numbers ??= numberEntries(list, sorted, starts, middleOf));
  return {
    sorted,
    count: list.count,
    indexOfDirectory: (directory) => numbered().ofDirectories[directory],
    indexAt: (at, directory) => numbered().ofFirst[directory] + at - starts[directory],
    group(directory) {
      const directories = middleOf(directory);
      if (isSorted[directory] === 0) sortOthers(list, sorted, starts[directory], directories);
      isSorted[directory] = 1;
      return { start: starts[directory], directories, end: starts[directory + 1] };
    },
  };
}

/** Whether both absolute and relative paths are listed, of which a walk would see one kind only. */
export function hasMixedTops(list: FileList, order: FileOrder): boolean {
  if (list.absoluteTop() === undefined) return false;
  const { start, end } = order.group(0);
  return end - start > 1 || list.entryOfDirectory(0) >= 0;
}

/** The top's own entry (`.`, or `/.`) lies in no directory. */
const isSelf = (list: FileList, entry: number): boolean =>
  isDirectory(list.mode(entry)) && list.directoryOf(entry) === list.parentOf(entry);

/** No entry of its parent directory says that it is there; only what lies in it does. */
function isImplied(list: FileList, directory: number): boolean {
  const entry = list.entryOfDirectory(directory);
  return entry < 0 || isSelf(list, entry);
}

/** The directory that a member of a group is, or -1. */
function memberDirectory(list: FileList, member: number): number {
  if (member < 0) return -member - 1;
  return isDirectory(list.mode(member)) ? list.directoryOf(member) : -1;
}

const memberName = (list: FileList, member: number): number =>
  member < 0 ? list.directoryNamePlace(-member - 1) : list.namePlace(member);

function groupStarts(list: FileList): Uint32Array {
  const starts = new Uint32Array(list.directoryCount + 1);
  for (let entry = 0; entry < list.count; entry++) if (!isSelf(list, entry)) starts[list.parentOf(entry) + 1]++;
  for (let directory = 1; directory < list.directoryCount; directory++) {
    if (isImplied(list, directory)) starts[list.parentOfDirectory(directory) + 1]++;
  }
  for (let directory = 0; directory < list.directoryCount; directory++) starts[directory + 1] += starts[directory];
  return starts;
}

function groupByDirectory(list: FileList, starts: Uint32Array): Int32Array {
  const sorted = new Int32Array(starts[list.directoryCount]);
  const next = starts.slice(0, list.directoryCount);
  for (let entry = 0; entry < list.count; entry++) {
    if (!isSelf(list, entry)) sorted[next[list.parentOf(entry)]++] = entry;
  }
  for (let directory = 1; directory < list.directoryCount; directory++) {
    if (isImplied(list, directory)) sorted[next[list.parentOfDirectory(directory)]++] = -directory - 1;
  }
  return sorted;
}

const SLASH = 0x2f;

/** Puts the directories among one directory's members behind the others, as rsync sorts them; the result is where they begin. */
function sortDirectories(list: FileList, sorted: Int32Array, start: number, end: number): number {
  const directories: number[] = [];
  let middle = start;
  for (let at = start; at < end; at++) {
    const member = sorted[at];
    if (memberDirectory(list, member) >= 0) directories.push(member);
    else sorted[middle++] = member;
  }
  directories.sort((a, b) => list.store.compare(memberName(list, a), memberName(list, b), SLASH) || a - b);
  sorted.set(directories, middle);
  return middle;
}

function sortOthers(list: FileList, sorted: Int32Array, start: number, end: number): void {
  const others = sorted.subarray(start, end);
  others.sort((a, b) => list.store.compare(list.namePlace(a), list.namePlace(b), -1) || a - b);
}

/** rsync's numbers, by directory: of its own entry, and of the first in it that is not a directory. */
interface EntryNumbers {
  readonly ofDirectories: Uint32Array;
  readonly ofFirst: Uint32Array;
}

function numberEntries(
  list: FileList,
  sorted: Int32Array,
  starts: Uint32Array,
  middleOf: (directory: number) => number,
): EntryNumbers {
  const ofFirst = new Uint32Array(list.directoryCount);
  const ofDirectories = new Uint32Array(list.directoryCount);
  const selves = countSelves(list);
  let index = 0;
  const stack: { at: number; readonly end: number }[] = [];
  const enter = (directory: number): void => {
    const own = selves.get(directory) ?? 0;
    if (own > 0) ofDirectories[directory] = index;
    index += own;
    ofFirst[directory] = index;
    const middle = middleOf(directory);
    index += middle - starts[directory];
    stack.push({ at: middle, end: starts[directory + 1] });
  };
  enter(0);
  while (stack.length > 0) {
    const frame = stack[stack.length - 1];
    if (frame.at === frame.end) {
      stack.pop();
      continue;
    }
    const directory = memberDirectory(list, sorted[frame.at]);
    if (sorted[frame.at] >= 0) ofDirectories[directory] = index;
    // Duplicates stand side by side, each with a number of its own, before what is in the directory.
    while (frame.at < frame.end && memberDirectory(list, sorted[frame.at]) === directory) {
      if (sorted[frame.at] >= 0) index++;
      frame.at++;
    }
    enter(directory);
  }
  return { ofDirectories, ofFirst };
}

/** How often a top's own entry was listed. There are at most two tops: that of relative and that of absolute paths. */
function countSelves(list: FileList): ReadonlyMap<number, number> {
  const counts = new Map<number, number>();
  for (let entry = 0; entry < list.count; entry++) {
    if (isSelf(list, entry)) counts.set(list.parentOf(entry), (counts.get(list.parentOf(entry)) ?? 0) + 1);
  }
  return counts;
}

/** One step of a walk in our order: an entry, or a directory that is only implied (then `entry` is -1). */
export interface WalkStep {
  readonly entry: number;
  /** The directory's number, or -1 for what is not one. */
  readonly directory: number;
  readonly parent: number;
  /** Of what is not a directory: its place in the order's `sorted`; else -1. */
  readonly at: number;
  /** Number of parts in its path below where the walk began. */
  readonly depth: number;
}

/**
 * Everything below `top` in our order: depth first, names in one directory ascending by bytes, no name twice. Refuses a
 * list in which something lies below what is not a directory. Directories that are put into `skipped` meanwhile are left,
 * or not entered at all.
 */
export function* walkInOrder(
  list: FileList,
  order: FileOrder,
  top: number,
  skipped: number[] = [],
): Generator<WalkStep, void, undefined> {
  const stack = [openFrame(list, order, top)];
  while (stack.length > 0) {
    const frame = stack[stack.length - 1];
    const step = nextStep(list, order, frame, stack.length);
    if (step === undefined) {
      stack.pop();
      continue;
    }
    yield step;
    if (step.directory >= 0) stack.push(openFrame(list, order, step.directory));
    if (skipped.length > 0) leave(skipped.splice(0), stack);
  }
}

function leave(directories: readonly number[], stack: Frame[]): void {
  for (const directory of directories) {
    const depth = stack.findIndex((open) => open.directory === directory);
    if (depth >= 0) stack.length = depth;
  }
}

interface Frame {
  readonly directory: number;
  readonly group: DirectoryGroup;
  readonly directories: Int32Array;
  file: number;
  directoryAt: number;
}

function openFrame(list: FileList, order: FileOrder, directory: number): Frame {
  const group = order.group(directory);
  const directories = order.sorted.slice(group.directories, group.end);
  directories.sort((a, b) => list.store.compare(memberName(list, a), memberName(list, b), -1) || a - b);
  return { directory, group, directories, file: group.start, directoryAt: 0 };
}

function nextStep(list: FileList, order: FileOrder, frame: Frame, depth: number): WalkStep | undefined {
  const { group, directories } = frame;
  const file = frame.file < group.directories ? order.sorted[frame.file] : undefined;
  const member = frame.directoryAt < directories.length ? directories[frame.directoryAt] : undefined;
  if (file === undefined && member === undefined) return undefined;
  const compared =
    file === undefined
      ? 1
      : member === undefined
        ? -1
        : list.store.compare(list.namePlace(file), memberName(list, member), -1);
  if (file !== undefined && compared < 0) {
    const at = frame.file;
    skipSameName(list, order, frame, file);
    return { entry: file, directory: -1, parent: frame.directory, at, depth };
  }
  if (member === undefined) return undefined;
  if (file !== undefined && compared === 0) {
    if (member < 0) throw belowNoDirectory(list, file);
    skipSameName(list, order, frame, file);
  }
  const directory = memberDirectory(list, member);
  while (
    frame.directoryAt < directories.length &&
    memberDirectory(list, directories[frame.directoryAt]) === directory
  ) {
    frame.directoryAt++;
  }
  return { entry: list.entryOfDirectory(directory), directory, parent: frame.directory, at: -1, depth };
}

/** rsync's number of the entry at a step. */
export function indexOfStep(order: FileOrder, { directory, at, parent }: WalkStep): number {
  return directory < 0 ? order.indexAt(at, parent) : order.indexOfDirectory(directory);
}

function skipSameName(list: FileList, order: FileOrder, frame: Frame, file: number): void {
  const name = list.namePlace(file);
  do frame.file++;
  while (
    frame.file < frame.group.directories &&
    list.store.compare(list.namePlace(order.sorted[frame.file]), name, -1) === 0
  );
}

function belowNoDirectory(list: FileList, file: number): RsyncProtocolError {
  const path = [list.directoryPath(list.parentOf(file)), list.name(file)].filter((part) => part !== "").join("/");
  return new RsyncProtocolError(
    `the other side lists files below ${JSON.stringify(path)}, which it also lists as something that is no directory`,
  );
}

/** The entry of each of rsync's numbers. */
export function indexEntries(list: FileList, order: FileOrder): Int32Array {
  const entries = new Int32Array(order.count);
  for (let directory = 0; directory < list.directoryCount; directory++) {
    const { start, directories } = order.group(directory);
    for (let at = start; at < directories; at++) entries[order.indexAt(at, directory)] = order.sorted[at];
  }
  // What several entries say of one directory is the same: the numbers of the others lead to the first.
  for (let directory = 0; directory < list.directoryCount; directory++) {
    const entry = list.entryOfDirectory(directory);
    if (entry >= 0) entries[order.indexOfDirectory(directory)] = entry;
  }
  return entries;
}
