import { allocateNative, lastErrno, lazy, olderSyscall, syscall } from "./libc.ts";
import type { RawPath } from "./raw-path.ts";
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
  const { address, bytes } = listMemory();
  const names: RawPath[] = [];
  for (;;) {
    const filled = syscall()(SYS_GETDENTS64(), fd, address, LIST_BYTES, 0, 0);
    if (filled === 0) break;
    if (filled < 0) throw new SystemError(lastErrno(), "list");
    for (let at = 0; at < filled;) {
      const recordLength = bytes[at + RECORD_LENGTH_AT] | (bytes[at + RECORD_LENGTH_AT + 1] << 8);
      // Records are padded to 8 bytes, so the NUL is among the last 8; what follows it is not cleared.
      let end = at + Math.max(NAME_AT, recordLength - 8);
      while (bytes[end] !== 0) end++;
      const start = at + NAME_AT;
      if (!isDots(bytes, start, end)) names.push(bytes.latin1Slice(start, end) as RawPath);
      at += recordLength;
    }
  }
  return names.sort();
}

const DOT = 0x2e;

function isDots(bytes: Buffer, start: number, end: number): boolean {
  return bytes[start] === DOT && (end - start === 1 || (end - start === 2 && bytes[start + 1] === DOT));
}
