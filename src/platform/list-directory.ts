import { allocateNative, lastErrno, lazy, olderSyscall, syscall } from "./libc.ts";
import { cursorOf, mergeCursors, type NameCursor, spillNames } from "./name-cursor.ts";
import type { RawPath } from "./raw-path.ts";
import { createSpillFile, type SpillFile } from "./spill-file.ts";
import { SystemError } from "./system-error.ts";

const SYS_GETDENTS64 = lazy(() => olderSyscall({ x64: 217, shared: 61 }));

// Larger takes no fewer calls: file systems hand out a block or two at once.
const LIST_BYTES = 64 * 1024;
const listMemory = lazy(() => allocateNative(LIST_BYTES));

// struct linux_dirent64: u64 inode, i64 offset, u16 length of the record, u8 type, name ending in NUL.
const RECORD_LENGTH_AT = 16;
const NAME_AT = 19;

/**
 * All names in a directory but `.` and `..`, ascending by bytes. `fd` must be open for reading and freshly opened: the
 * listing goes on from where the descriptor stands. Throws `SystemError`.
 */
export function listDirectory(fd: number): RawPath[] {
  const names: RawPath[] = [];
  readNames(fd, (name) => names.push(name));
  return names.sort();
}

export interface NameListing {
  readonly names: NameCursor;
  /** Those of the names that were asked about which are there. */
  readonly found: readonly RawPath[];
  /** Once no more names are asked for. */
  close(): void;
}

/** Names that are sorted at a time; of folders with more, the sorted parts wait in a temporary file. */
const RUN_NAMES = 32 * 1024;

/** As `listDirectory`, but takes no more memory for a folder of ten million names than for one of fifty thousand. */
export function listNames(fd: number, askedAbout: readonly RawPath[] = [], runNames = RUN_NAMES): NameListing {
  const found = new Set<RawPath>();
  const runs: NameCursor[] = [];
  let names: RawPath[] = [];
  let spill: SpillFile | undefined;

  function endRun(): void {
    names.sort();
    for (const name of askedAbout) if (includesSorted(names, name)) found.add(name);
  }

  try {
    readNames(fd, (name) => {
      if (names.length === runNames) {
        endRun();
        spill ??= createSpillFile();
        runs.push(spillNames(spill, names));
        names = [];
      }
      names.push(name);
    });
  } catch (error) {
    spill?.close();
    throw error;
  }
  endRun();
  runs.push(cursorOf(names));
  return {
    names: runs.length === 1 ? runs[0] : mergeCursors(runs),
    found: [...found],
    close: () => spill?.close(),
  };
}

function includesSorted(names: readonly RawPath[], wanted: RawPath): boolean {
  let from = 0;
  let to = names.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (names[middle] < wanted) from = middle + 1;
    else to = middle;
  }
  return names[from] === wanted;
}

function readNames(fd: number, onName: (name: RawPath) => void): void {
  const { address, bytes } = listMemory();
  for (;;) {
    const filled = syscall()(SYS_GETDENTS64(), fd, address, LIST_BYTES, 0, 0);
    if (filled === 0) return;
    if (filled < 0) throw new SystemError(lastErrno(), "list");
    for (let at = 0; at < filled;) {
      const recordLength = bytes[at + RECORD_LENGTH_AT] | (bytes[at + RECORD_LENGTH_AT + 1] << 8);
      // Records are padded to 8 bytes, so the NUL is among the last 8; what follows it is not cleared.
      let end = at + Math.max(NAME_AT, recordLength - 8);
      while (bytes[end] !== 0) end++;
      const start = at + NAME_AT;
      if (!isDots(bytes, start, end)) onName(bytes.latin1Slice(start, end) as RawPath);
      at += recordLength;
    }
  }
}

const DOT = 0x2e;

function isDots(bytes: Buffer, start: number, end: number): boolean {
  return bytes[start] === DOT && (end - start === 1 || (end - start === 2 && bytes[start + 1] === DOT));
}
