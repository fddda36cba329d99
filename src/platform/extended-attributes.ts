import {
  allocateNative,
  check,
  lastErrno,
  lazy,
  libcFunction,
  nameAddress,
  secondNameAddress,
  syscall,
} from "./libc.ts";
import { AT_FDCWD, descriptorPath } from "./open.ts";
import { displayPath, type RawPath } from "./raw-path.ts";
import { ERRNO, SystemError } from "./system-error.ts";

/** One extended attribute; the name with its namespace, such as `user.comment` or `system.posix_acl_access`. */
export interface Xattr {
  readonly name: RawPath;
  readonly value: Uint8Array;
}

/** Told of an attribute that is there but cannot be read. */
export type OnUnreadableXattr = (name: RawPath, error: SystemError) => void;

// XATTR_LIST_MAX and XATTR_SIZE_MAX of the kernel: what does not fit cannot be read by any means (E2BIG).
const MAX_LIST_BYTES = 65536;
const MAX_VALUE_BYTES = 65536;

const listMemory = lazy(() => allocateNative(MAX_LIST_BYTES));
const valueMemory = lazy(() => allocateNative(MAX_VALUE_BYTES));
/** struct xattr_args (linux/xattr.h): u64 address of the value, u32 size, u32 flags. */
const xattrArguments = lazy(() => allocateNative(16));

const SYS_SETXATTRAT = 463;
const SYS_GETXATTRAT = 464;
const SYS_LISTXATTRAT = 465;
const SYS_REMOVEXATTRAT = 466;
const XATTR_ARGUMENTS_BYTES = 16;
const AT_SYMLINK_NOFOLLOW = 0x100;

const syscall7 = libcFunction("syscall", "int64", ["int64", "int64", "int64", "int64", "int64", "int64", "int64"]);
const flistxattr = libcFunction("flistxattr", "int64", ["int", "uintptr_t", "uintptr_t"]);
const fgetxattr = libcFunction("fgetxattr", "int64", ["int", "uintptr_t", "uintptr_t", "uintptr_t"]);
const fsetxattr = libcFunction("fsetxattr", "int", ["int", "uintptr_t", "uintptr_t", "uintptr_t", "int"]);
const fremovexattr = libcFunction("fremovexattr", "int", ["int", "uintptr_t"]);
const llistxattr = libcFunction("llistxattr", "int64", ["uintptr_t", "uintptr_t", "uintptr_t"]);
const lgetxattr = libcFunction("lgetxattr", "int64", ["uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t"]);
const lsetxattr = libcFunction("lsetxattr", "int", ["uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t", "int"]);
const lremovexattr = libcFunction("lremovexattr", "int", ["uintptr_t", "uintptr_t"]);

/**
 * The four operations, on what `fd` stands for or a name in it; each gives -1 for failure, like the C functions. `path`
 * is the address of the name.
 */
interface XattrCalls {
  list(fd: number, path: number, address: number, sizeBytes: number): number;
  get(fd: number, path: number, name: RawPath, address: number, sizeBytes: number): number;
  set(fd: number, path: number, name: RawPath, address: number, sizeBytes: number): number;
  remove(fd: number, path: number, name: RawPath): number;
}

/** A file to work on. */
interface Place {
  readonly calls: XattrCalls;
  readonly fd: number;
  readonly path: number;
  /** For messages. */
  readonly name: RawPath | undefined;
}

/**
 * All extended attributes of an open file or directory, ascending by name; none where the file system has none. One
 * system call where there are none. Throws `SystemError` if they cannot be listed; one that cannot be read is told to
 * `onUnreadable`, or, without it, thrown. A descriptor of `OPEN.PATH` will not do.
 */
export function readXattrsFd(fd: number, onUnreadable?: OnUnreadableXattr): Xattr[] {
  return readAll(openFile(fd), onUnreadable);
}

/** The same for a name in a directory; a symbolic link's own attributes, not its target's. */
export function readXattrsAt(dirFd: number, name: RawPath, onUnreadable?: OnUnreadableXattr): Xattr[] {
  return readAll(nameIn(dirFd, name), onUnreadable);
}

/** Sets or replaces one. */
export function setXattrFd(fd: number, attribute: Xattr): void {
  set(openFile(fd), attribute);
}

export function setXattrAt(dirFd: number, name: RawPath, attribute: Xattr): void {
  set(nameIn(dirFd, name), attribute);
}

/** Removes one; that it is not there is no error. */
export function removeXattrFd(fd: number, attributeName: RawPath): void {
  remove(openFile(fd), attributeName);
}

export function removeXattrAt(dirFd: number, name: RawPath, attributeName: RawPath): void {
  remove(nameIn(dirFd, name), attributeName);
}

function openFile(fd: number): Place {
  return { calls: DESCRIPTOR_CALLS, fd, path: 0, name: undefined };
}

function nameIn(dirFd: number, name: RawPath): Place {
  return hasXattrAt() ? placeAt(dirFd, name) : placeThroughProc(dirFd, name);
}

function placeAt(dirFd: number, name: RawPath): Place {
  return { calls: AT_CALLS, fd: dirFd, path: nameAddress(name, "xattr"), name };
}

/** How it is done on kernels before 6.13. */
function placeThroughProc(dirFd: number, name: RawPath): Place {
  const direct = dirFd === AT_FDCWD || name.startsWith("/");
  const path = nameAddress(direct ? name : (`${descriptorPath(dirFd)}/${name}` as RawPath), "xattr");
  return { calls: PATH_CALLS, fd: dirFd, path, name };
}

/** For the test of what older kernels need. */
export const xattrsThroughProc = {
  read: (dirFd: number, name: RawPath): Xattr[] => readAll(placeThroughProc(dirFd, name), undefined),
  set: (dirFd: number, name: RawPath, attribute: Xattr): void => set(placeThroughProc(dirFd, name), attribute),
  remove: (dirFd: number, name: RawPath, attribute: RawPath): void => remove(placeThroughProc(dirFd, name), attribute),
};

function readAll({ calls, fd, path, name: place }: Place, onUnreadable: OnUnreadableXattr | undefined): Xattr[] {
  const list = listMemory();
  const listed = calls.list(fd, path, list.address, MAX_LIST_BYTES);
  if (listed === 0) return [];
  if (listed < 0) {
    const errno = lastErrno();
    if (errno === ERRNO.EOPNOTSUPP || errno === ERRNO.ENOSYS) return [];
    throw new SystemError(errno, "list extended attributes of", place);
  }
  const attributes: Xattr[] = [];
  const buffer = valueMemory();
  const names = list.bytes.latin1Slice(0, listed).split("\0") as RawPath[];
  // Each name ends with a NUL.
  names.pop();
  for (const name of names.sort()) {
    const length = calls.get(fd, path, name, buffer.address, MAX_VALUE_BYTES);
    if (length >= 0) {
      attributes.push({ name, value: new Uint8Array(buffer.bytes.subarray(0, length)) });
      continue;
    }
    const errno = lastErrno();
    // Removed since it was listed.
    if (errno === ERRNO.ENODATA) continue;
    const error = new SystemError(errno, `read extended attribute ${displayPath(name)} of`, place);
    if (onUnreadable === undefined) throw error;
    onUnreadable(name, error);
  }
  return attributes;
}

function set({ calls, fd, path, name: place }: Place, { name, value }: Xattr): void {
  const doing = `set extended attribute ${displayPath(name)} of`;
  if (value.length > MAX_VALUE_BYTES) throw new SystemError(ERRNO.ERANGE, doing, place);
  const buffer = valueMemory();
  buffer.bytes.set(value);
  check(calls.set(fd, path, name, buffer.address, value.length), doing, place);
}

function remove({ calls, fd, path, name: place }: Place, name: RawPath): void {
  if (calls.remove(fd, path, name) === 0) return;
  const errno = lastErrno();
  if (errno !== ERRNO.ENODATA) throw new SystemError(errno, `remove extended attribute ${displayPath(name)} of`, place);
}

const DESCRIPTOR_CALLS: XattrCalls = {
  list: (fd, _path, address, size) => flistxattr()(fd, address, size),
  get: (fd, _path, name, address, size) => fgetxattr()(fd, secondNameAddress(name, "xattr"), address, size),
  set: (fd, _path, name, address, size) => fsetxattr()(fd, secondNameAddress(name, "xattr"), address, size, 0),
  remove: (fd, _path, name) => fremovexattr()(fd, secondNameAddress(name, "xattr")),
};

const PATH_CALLS: XattrCalls = {
  list: (_fd, path, address, size) => llistxattr()(path, address, size),
  get: (_fd, path, name, address, size) => lgetxattr()(path, secondNameAddress(name, "xattr"), address, size),
  set: (_fd, path, name, address, size) => lsetxattr()(path, secondNameAddress(name, "xattr"), address, size, 0),
  remove: (_fd, path, name) => lremovexattr()(path, secondNameAddress(name, "xattr")),
};

const AT_CALLS: XattrCalls = {
  list: (fd, path, address, size) => syscall()(SYS_LISTXATTRAT, fd, path, AT_SYMLINK_NOFOLLOW, address, size),
  get: (fd, path, name, address, size) => withArguments(SYS_GETXATTRAT, fd, path, name, address, size),
  set: (fd, path, name, address, size) => withArguments(SYS_SETXATTRAT, fd, path, name, address, size),
  remove: (fd, path, name) =>
    syscall()(SYS_REMOVEXATTRAT, fd, path, AT_SYMLINK_NOFOLLOW, secondNameAddress(name, "xattr"), 0),
};

function withArguments(
  number: number,
  fd: number,
  path: number,
  name: RawPath,
  address: number,
  sizeBytes: number,
): number {
  const packed = xattrArguments();
  packed.words[0] = address % 0x1_0000_0000;
  packed.words[1] = address / 0x1_0000_0000;
  packed.words[2] = sizeBytes;
  const nameAt = secondNameAddress(name, "xattr");
  return syscall7()(number, fd, path, AT_SYMLINK_NOFOLLOW, nameAt, packed.address, XATTR_ARGUMENTS_BYTES);
}

// Linux 6.13 and later. A descriptor that cannot be open tells the two apart; old sandboxes answer EPERM.
const hasXattrAt = lazy(() => {
  syscall()(SYS_LISTXATTRAT, -1, nameAddress("x" as RawPath, "xattr"), AT_SYMLINK_NOFOLLOW, 0, 0);
  return lastErrno() === ERRNO.EBADF;
});
