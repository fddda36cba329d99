import { constants } from "node:fs";
import { allocateNative, lastErrno, lazy, libcFunction, MAX_PATH_BYTES, nameAddress, syscall } from "./libc.ts";
import type { RawPath } from "./raw-path.ts";
import { ERRNO, SystemError } from "./system-error.ts";

/** In place of a directory's descriptor: the current working directory; it does not matter for absolute paths. */
export const AT_FDCWD = -100;

/** Flags of `open(2)`. Close-on-exec is always added. */
export const OPEN = {
  READ: constants.O_RDONLY,
  WRITE: constants.O_WRONLY,
  READ_WRITE: constants.O_RDWR,
  CREATE: constants.O_CREAT,
  EXCLUSIVE: constants.O_EXCL,
  TRUNCATE: constants.O_TRUNC,
  APPEND: constants.O_APPEND,
  NONBLOCK: constants.O_NONBLOCK,
  DIRECT: constants.O_DIRECT,
  DIRECTORY: constants.O_DIRECTORY,
  NOFOLLOW: constants.O_NOFOLLOW,
  NOATIME: constants.O_NOATIME,
  NOCTTY: constants.O_NOCTTY,
  /** O_PATH: only a handle on the place, without any right on it. */
  PATH: 0o10000000,
} as const;

const O_CLOEXEC = 0o2000000;

const openatFunction = libcFunction("openat", "int", ["int", "uintptr_t", "int", "uint"]);
const closeFunction = libcFunction("close", "int", ["int"]);

/**
 * Opens `name`, relative to the directory `dirFd` stands for. Close the descriptor with `closeFd`, and not with Node's
 * `closeSync`, which in worker threads warns of descriptors that it has not opened. Throws `SystemError`.
 */
export function openAt(dirFd: number, name: RawPath, flags: number, mode = 0): number {
  const address = nameAddress(name, "open");
  for (;;) {
    const fd = openatFunction()(dirFd, address, flags | O_CLOEXEC, mode);
    if (fd >= 0) return fd;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) throw new SystemError(errno, "open", name);
  }
}

export function closeFd(fd: number): void {
  closeFunction()(fd);
}

/** Opens an absolute path (or one relative to the working directory) of any length, following links. */
export function openPath(path: RawPath, flags: number, mode = 0): number {
  return openInPieces(AT_FDCWD, path, flags, mode, openAt);
}

/**
 * Opens `path` below the directory that `rootFd` stands for, and never anything else: a symbolic link anywhere in the
 * path, and `..` out of the directory, are errors (ELOOP or ENOTDIR; EXDEV), also while others move things about. Any
 * length. An empty path is the directory itself. openat2(2); where the kernel has none (before 5.6), each part by itself.
 */
export function openBeneath(rootFd: number, path: RawPath, flags: number, mode = 0): number {
  const below = path === "" ? ("." as RawPath) : path;
  return openInPieces(rootFd, below, flags, mode, hasOpenat2() ? openPieceBeneath : openPartsBeneath);
}

type OpenPiece = (dirFd: number, piece: RawPath, flags: number, mode: number) => number;

/** Goes through directories where the path is longer than the kernel takes at once. */
function openInPieces(startFd: number, path: RawPath, flags: number, mode: number, openPiece: OpenPiece): number {
  if (path.length <= MAX_PATH_BYTES) return openPiece(startFd, path, flags, mode);
  let dirFd = startFd;
  let from = 0;
  try {
    while (path.length - from > MAX_PATH_BYTES) {
      const slash = path.lastIndexOf("/", from + MAX_PATH_BYTES - 1);
      if (slash <= from) throw new SystemError(ERRNO.ENAMETOOLONG, "open", path);
      const next = openPiece(dirFd, path.slice(from, slash) as RawPath, OPEN.PATH | OPEN.DIRECTORY, 0);
      if (dirFd !== startFd) closeFd(dirFd);
      dirFd = next;
      from = slash + 1;
      // Slashes at the start of what follows would make it absolute.
      while (path[from] === "/") from++;
    }
    return openPiece(dirFd, from === path.length ? ("." as RawPath) : (path.slice(from) as RawPath), flags, mode);
  } catch (error) {
    throw error instanceof SystemError ? new SystemError(error.errno, "open", path) : error;
  } finally {
    if (dirFd !== startFd) closeFd(dirFd);
  }
}

const SYS_OPENAT2 = 437;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;
const OPEN_HOW_BYTES = 24;

// struct open_how: u64 flags, u64 mode, u64 resolve.
const openHow = lazy(() => {
  const memory = allocateNative(OPEN_HOW_BYTES);
  memory.words[4] = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return memory;
});

function openPieceBeneath(dirFd: number, piece: RawPath, flags: number, mode: number): number {
  const fd = tryOpenat2(dirFd, piece, flags, mode);
  if (fd < 0) throw new SystemError(-fd, "open", piece);
  return fd;
}

/** A descriptor, or a negative errno. */
function tryOpenat2(dirFd: number, path: RawPath, flags: number, mode: number): number {
  const address = nameAddress(path, "open");
  const how = openHow();
  how.words[0] = flags | O_CLOEXEC;
  how.words[2] = mode;
  for (let tries = 0; ; tries++) {
    const fd = syscall()(SYS_OPENAT2, dirFd, address, how.address, OPEN_HOW_BYTES, 0);
    if (fd >= 0) return fd;
    const errno = lastErrno();
    // EAGAIN: something was renamed meanwhile, and the kernel could not tell whether the path stayed beneath.
    if (errno !== ERRNO.EINTR && (errno !== ERRNO.EAGAIN || tries >= 1000)) return -errno;
  }
}

// Old sandboxes answer EPERM to system calls they do not know.
const hasOpenat2 = lazy(() => {
  const fd = tryOpenat2(AT_FDCWD, "." as RawPath, OPEN.PATH, 0);
  if (fd >= 0) closeFd(fd);
  return fd !== -ERRNO.ENOSYS && fd !== -ERRNO.EPERM;
});

/** What `openBeneath` does without openat2(2); exported for its test. */
export function openPartsBeneath(rootFd: number, path: RawPath, flags: number, mode: number): number {
  if (path.startsWith("/")) throw new SystemError(ERRNO.EXDEV, "open", path);
  const parts = path.split("/").filter((part) => part !== "" && part !== ".") as RawPath[];
  if (parts.includes(".." as RawPath)) throw new SystemError(ERRNO.EXDEV, "open", path);
  const last = parts.pop() ?? ("." as RawPath);
  let dirFd = rootFd;
  try {
    for (const part of parts) {
      const next = openAt(dirFd, part, OPEN.PATH | OPEN.DIRECTORY | OPEN.NOFOLLOW);
      if (dirFd !== rootFd) closeFd(dirFd);
      dirFd = next;
    }
    return openAt(dirFd, last, flags | OPEN.NOFOLLOW, mode);
  } catch (error) {
    throw error instanceof SystemError ? new SystemError(error.errno, "open", path) : error;
  } finally {
    if (dirFd !== rootFd) closeFd(dirFd);
  }
}

/** Path through which this process reaches what a descriptor stands for; for calls that take no descriptor. */
export function descriptorPath(fd: number): RawPath {
  return `/proc/self/fd/${fd}` as RawPath;
}
