/** Changing owner, mode, times and inode flags. None follows a symbolic link; all throw `SystemError`. */
import { INODE_FLAGS } from "./file-stat.ts";
import { allocateNative, check, lastErrno, lazy, libcFunction, nameAddress, syscall } from "./libc.ts";
import { closeFd, descriptorPath, OPEN, openAt } from "./open.ts";
import type { RawPath } from "./raw-path.ts";
import { statFd } from "./stat.ts";
import { ERRNO, SystemError } from "./system-error.ts";

const AT_SYMLINK_NOFOLLOW = 0x100;
const SYS_FCHMODAT2 = 452;

const fchownat = libcFunction("fchownat", "int", ["int", "uintptr_t", "uint", "uint", "int"]);
const fchown = libcFunction("fchown", "int", ["int", "uint", "uint"]);
const fchmod = libcFunction("fchmod", "int", ["int", "uint"]);
const chmod = libcFunction("chmod", "int", ["uintptr_t", "uint"]);
const utimensat = libcFunction("utimensat", "int", ["int", "uintptr_t", "uintptr_t", "int"]);
const futimens = libcFunction("futimens", "int", ["int", "uintptr_t"]);
const ioctl = libcFunction("ioctl", "int", ["int", "uint64", "uintptr_t"]);

/** Clears setuid, setgid and capabilities, as the kernel always does: set those afterwards. */
export function chownAt(dirFd: number, name: RawPath, uid: number, gid: number): void {
  check(fchownat()(dirFd, nameAddress(name, "chown"), uid, gid, AT_SYMLINK_NOFOLLOW), "chown", name);
}

export function chownFd(fd: number, uid: number, gid: number): void {
  check(fchown()(fd, uid, gid), "chown");
}

/** `mode` is the low 12 bits. */
export function chmodFd(fd: number, mode: number): void {
  check(fchmod()(fd, mode), "chmod");
}

/** For all but symbolic links, which have no mode of their own: those give ENOTSUP. */
export function chmodAt(dirFd: number, name: RawPath, mode: number): void {
  const result = syscall()(SYS_FCHMODAT2, dirFd, nameAddress(name, "chmod"), mode, AT_SYMLINK_NOFOLLOW, 0);
  if (result === 0) return;
  const errno = lastErrno();
  // Linux before 6.6; old sandboxes answer EPERM to what they do not know, which then comes again if it is meant.
  if (errno === ERRNO.ENOSYS || errno === ERRNO.EPERM) chmodThroughProc(dirFd, name, mode);
  else throw new SystemError(errno, "chmod", name);
}

/** What is done on older kernels; exported for its test. */
export function chmodThroughProc(dirFd: number, name: RawPath, mode: number): void {
  const fd = openAt(dirFd, name, OPEN.PATH | OPEN.NOFOLLOW);
  try {
    if (statFd(fd).type === "symlink") throw new SystemError(ERRNO.EOPNOTSUPP, "chmod", name);
    if (chmod()(nameAddress(descriptorPath(fd), "chmod"), mode) !== 0) {
      throw new SystemError(lastErrno(), "chmod", name);
    }
  } finally {
    closeFd(fd);
  }
}

export interface ModificationTime {
  /** Seconds since 1970, negative before. */
  readonly mtimeSeconds: number;
  /** 0 to 999,999,999, always added. */
  readonly mtimeNanoseconds: number;
}

const UTIME_OMIT = 0x3fff_fffe;

// Two struct timespec: access time, then modification time. i64 seconds, i64 nanoseconds each.
const timesMemory = lazy(() => {
  const memory = allocateNative(32);
  memory.words[2] = UTIME_OMIT;
  return memory;
});

/** Sets the modification time to the nanosecond, as far as the file system can hold it; leaves the access time. */
export function setTimesAt(dirFd: number, name: RawPath, time: ModificationTime): void {
  const address = nameAddress(name, "set time of");
  check(utimensat()(dirFd, address, timesAddress(time), AT_SYMLINK_NOFOLLOW), "set time of", name);
}

export function setTimesFd(fd: number, time: ModificationTime): void {
  check(futimens()(fd, timesAddress(time)), "set time");
}

function timesAddress({ mtimeSeconds, mtimeNanoseconds }: ModificationTime): number {
  const memory = timesMemory();
  memory.signedWords[5] = Math.floor(mtimeSeconds / 0x1_0000_0000);
  memory.words[4] = mtimeSeconds % 0x1_0000_0000;
  memory.words[6] = mtimeNanoseconds;
  return memory.address;
}

const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
const FS_APPEND_FL = 0x20;
const FS_IMMUTABLE_FL = 0x10;
const FS_NODUMP_FL = 0x40;

const flagsMemory = lazy(() => allocateNative(8));

/** The `INODE_FLAGS` of an open file or directory; 0 where the file system has none. */
export function getInodeFlags(fd: number): number {
  const flags = readFlags(fd) ?? 0;
  return (
    ((flags & FS_IMMUTABLE_FL) !== 0 ? INODE_FLAGS.immutable : 0) |
    ((flags & FS_APPEND_FL) !== 0 ? INODE_FLAGS.appendOnly : 0) |
    ((flags & FS_NODUMP_FL) !== 0 ? INODE_FLAGS.noDump : 0)
  );
}

/** Sets exactly these of the `INODE_FLAGS`, and leaves all others. ENOTSUP where the file system has no flags. */
export function setInodeFlags(fd: number, inodeFlags: number): void {
  const before = readFlags(fd);
  if (before === undefined) {
    if (inodeFlags === 0) return;
    throw new SystemError(ERRNO.EOPNOTSUPP, "set inode flags");
  }
  const after =
    (before & ~(FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL)) |
    ((inodeFlags & INODE_FLAGS.immutable) !== 0 ? FS_IMMUTABLE_FL : 0) |
    ((inodeFlags & INODE_FLAGS.appendOnly) !== 0 ? FS_APPEND_FL : 0) |
    ((inodeFlags & INODE_FLAGS.noDump) !== 0 ? FS_NODUMP_FL : 0);
  if (after === before) return;
  // ext4 changes nothing else while a file is, and is to stay, immutable.
  if ((before & after & FS_IMMUTABLE_FL) !== 0) writeFlags(fd, after & ~FS_IMMUTABLE_FL);
  writeFlags(fd, after);
}

function writeFlags(fd: number, flags: number): void {
  const memory = flagsMemory();
  memory.signedWords[0] = flags;
  check(ioctl()(fd, FS_IOC_SETFLAGS, memory.address), "set inode flags");
}

function readFlags(fd: number): number | undefined {
  const memory = flagsMemory();
  if (ioctl()(fd, FS_IOC_GETFLAGS, memory.address) === 0) return memory.signedWords[0];
  const errno = lastErrno();
  if (errno === ERRNO.ENOTTY || errno === ERRNO.EOPNOTSUPP || errno === ERRNO.ENOSYS) return undefined;
  throw new SystemError(errno, "get inode flags");
}
