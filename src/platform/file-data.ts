/** What Node lacks for a file's data: holes, sizes, and advice to the page cache. */
import { check, lastErrno, libcFunction } from "./libc.ts";
import { ERRNO, SystemError } from "./system-error.ts";

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const POSIX_FADV_SEQUENTIAL = 2;
const POSIX_FADV_WILLNEED = 3;
const POSIX_FADV_DONTNEED = 4;
const SYNC_FILE_RANGE_WRITE = 2;

const lseek = libcFunction("lseek", "int64", ["int", "int64", "int"]);
const fallocate = libcFunction("fallocate", "int", ["int", "int", "int64", "int64"]);
const posixFadvise = libcFunction("posix_fadvise", "int", ["int", "int64", "int64", "int"]);
const syncFileRange = libcFunction("sync_file_range", "int", ["int", "int64", "int64", "uint"]);

/** A range that reads as zeros and takes no space. */
export interface FileHole {
  readonly offset: number;
  readonly lengthBytes: number;
}

/**
 * The holes of an open file within its first `sizeBytes`, ascending, apart from each other; none where the file system
 * cannot tell. Costs two calls a hole, whatever its length. Moves the descriptor's position.
 */
export function dataHoles(fd: number, sizeBytes: number): FileHole[] {
  const holes: FileHole[] = [];
  for (let at = 0; at < sizeBytes;) {
    const hole = lseek()(fd, at, SEEK_HOLE);
    if (hole < 0) {
      const errno = lastErrno();
      if (errno === ERRNO.EINVAL || errno === ERRNO.EOPNOTSUPP) return [];
      // Cut shorter meanwhile.
      if (errno === ERRNO.ENXIO) return holes;
      throw new SystemError(errno, "find holes");
    }
    // There is always one at the end of the file, of no length.
    if (hole >= sizeBytes) return holes;
    const end = endOfHole(fd, hole, sizeBytes);
    if (end > hole) holes.push({ offset: hole, lengthBytes: end - hole });
    at = Math.max(end, at + 1);
  }
  return holes;
}

function endOfHole(fd: number, hole: number, sizeBytes: number): number {
  const data = lseek()(fd, hole, SEEK_DATA);
  if (data >= 0) return Math.min(data, sizeBytes);
  const errno = lastErrno();
  if (errno === ERRNO.ENXIO) return sizeBytes;
  throw new SystemError(errno, "find holes");
}

/** Makes a range read as zeros and gives its space back; false where the file system cannot. */
export function punchHole(fd: number, offset: number, lengthBytes: number): boolean {
  if (fallocate()(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, lengthBytes) === 0) return true;
  const errno = lastErrno();
  if (errno === ERRNO.EOPNOTSUPP || errno === ERRNO.ENOSYS) return false;
  throw new SystemError(errno, "punch hole");
}

/** Reading will go from front to back: the kernel reads further ahead. A hint: failure does not matter. */
export function adviseSequential(fd: number): void {
  posixFadvise()(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
}

/** The kernel takes note of one request of such advice only as far as it reads ahead anyway: 128 KiB, unless it was told. */
const ADVISED_AT_ONCE_BYTES = 128 * 1024;

/** The range will be read soon: the kernel begins to fetch it. A hint: failure does not matter. */
export function adviseWillNeed(fd: number, offset: number, lengthBytes: number): void {
  for (let at = 0; at < lengthBytes; at += ADVISED_AT_ONCE_BYTES) {
    posixFadvise()(fd, offset + at, Math.min(ADVISED_AT_ONCE_BYTES, lengthBytes - at), POSIX_FADV_WILLNEED);
  }
}

/** The range (to the end, for a length of 0) will not be needed again: drops its clean pages from the cache. A hint. */
export function adviseDontNeed(fd: number, offset: number, lengthBytes: number): void {
  posixFadvise()(fd, offset, lengthBytes, POSIX_FADV_DONTNEED);
}

/** Starts writing a range out, without waiting, so that a later fsync has less to do. */
export function startWritingOut(fd: number, offset: number, lengthBytes: number): void {
  if (syncFileRange()(fd, offset, lengthBytes, SYNC_FILE_RANGE_WRITE) === 0) return;
  const errno = lastErrno();
  // On pipes and on file systems that have nothing to start.
  if (errno === ERRNO.EINVAL || errno === ERRNO.ENOSYS || errno === ERRNO.EOPNOTSUPP) return;
  throw new SystemError(errno, "sync");
}

const ftruncate = libcFunction("ftruncate", "int", ["int", "int64"]);

/** Sets a file's size: cuts it, or lengthens it by a hole. */
export function truncateFd(fd: number, sizeBytes: number): void {
  check(ftruncate()(fd, sizeBytes), "truncate");
}

const fsync = libcFunction("fsync", "int", ["int"]);

/** Returns when data and attributes are on the disc. */
export function syncFd(fd: number): void {
  check(fsync()(fd), "sync");
}
