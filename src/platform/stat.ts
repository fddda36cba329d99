import { INODE_FLAGS, type FileStat, type FileType } from "./file-stat.ts";
import { allocateNative, lastErrno, lazy, libcFunction, nameAddress, type NativeMemory } from "./libc.ts";
import type { RawPath } from "./raw-path.ts";
import { ERRNO, SystemError } from "./system-error.ts";

const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_NO_AUTOMOUNT = 0x800;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;

const statxFunction = libcFunction("statx", "int", ["int", "uintptr_t", "int", "uint", "uintptr_t"]);
const statxMemory = lazy(() => allocateNative(256));

/** What `name` is in the directory `dirFd` stands for; not followed if it is a symbolic link. Throws `SystemError`. */
export function statAt(dirFd: number, name: RawPath): FileStat {
  const memory = statxMemory();
  const address = nameAddress(name, "stat");
  if (statxFunction()(dirFd, address, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, memory.address) !== 0) {
    throw new SystemError(lastErrno(), "stat", name);
  }
  return readStatx(memory);
}

/** As `statAt`, but undefined where there is nothing of that name. */
export function statAtIfExists(dirFd: number, name: RawPath): FileStat | undefined {
  const memory = statxMemory();
  const address = nameAddress(name, "stat");
  if (statxFunction()(dirFd, address, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, memory.address) === 0) {
    return readStatx(memory);
  }
  const errno = lastErrno();
  if (errno === ERRNO.ENOENT) return undefined;
  throw new SystemError(errno, "stat", name);
}

/** What an open descriptor (also of `OPEN.PATH`) stands for. */
export function statFd(fd: number): FileStat {
  const memory = statxMemory();
  const address = nameAddress("" as RawPath, "stat");
  if (statxFunction()(fd, address, AT_EMPTY_PATH, STATX_BASIC_STATS, memory.address) !== 0) {
    throw new SystemError(lastErrno(), "stat");
  }
  return readStatx(memory);
}

// By the four type bits of st_mode.
const FILE_TYPES: readonly (FileType | undefined)[] = [
  undefined,
  "fifo",
  "char",
  undefined,
  "directory",
  undefined,
  "block",
  undefined,
  "file",
  undefined,
  "symlink",
  undefined,
  "socket",
  undefined,
  undefined,
  undefined,
];

const TWO_TO_32 = 0x1_0000_0000;
const STATX_ATTR_IMMUTABLE = 0x10;
const STATX_ATTR_APPEND = 0x20;
const STATX_ATTR_NODUMP = 0x40;
const KEPT_ATTRIBUTES = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND | STATX_ATTR_NODUMP;

/** Reads `struct statx` (linux/stat.h) by 32-bit words. */
function readStatx({ words, signedWords }: NativeMemory): FileStat {
  const modeAndType = words[7] & 0xffff;
  const attributes = words[2] & KEPT_ATTRIBUTES;
  return {
    // Only the seven types exist; an eighth would be a new kind of file of a kernel to come.
    type: FILE_TYPES[modeAndType >>> 12] ?? "socket",
    mode: modeAndType & 0o7777,
    uid: words[5],
    gid: words[6],
    sizeBytes: words[11] * TWO_TO_32 + words[10],
    mtimeSeconds: signedWords[29] * TWO_TO_32 + words[28],
    mtimeNanoseconds: words[30],
    ctimeSeconds: signedWords[25] * TWO_TO_32 + words[24],
    ctimeNanoseconds: words[26],
    inodeHigh: words[9],
    inodeLow: words[8],
    links: words[4],
    allocatedBytes: (words[13] * TWO_TO_32 + words[12]) * 512,
    deviceMajor: words[34],
    deviceMinor: words[35],
    rdevMajor: words[32],
    rdevMinor: words[33],
    inodeFlags: attributes === 0 ? 0 : inodeFlagsOf(attributes),
  };
}

function inodeFlagsOf(attributes: number): number {
  return (
    ((attributes & STATX_ATTR_IMMUTABLE) !== 0 ? INODE_FLAGS.immutable : 0) |
    ((attributes & STATX_ATTR_APPEND) !== 0 ? INODE_FLAGS.appendOnly : 0) |
    ((attributes & STATX_ATTR_NODUMP) !== 0 ? INODE_FLAGS.noDump : 0)
  );
}
