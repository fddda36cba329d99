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

const flistxattr = libcFunction("flistxattr", "int64", ["int", "uintptr_t", "uintptr_t"]);
const fgetxattr = libcFunction("fgetxattr", "int64", ["int", "uintptr_t", "uintptr_t", "uintptr_t"]);
const fsetxattr = libcFunction("fsetxattr", "int", ["int", "uintptr_t", "uintptr_t", "uintptr_t", "int"]);
const fremovexattr = libcFunction("fremovexattr", "int", ["int", "uintptr_t"]);
const llistxattr = libcFunction("llistxattr", "int64", ["uintptr_t", "uintptr_t", "uintptr_t"]);
const lgetxattr = libcFunction("lgetxattr", "int64", ["uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t"]);
const lsetxattr = libcFunction("lsetxattr", "int", ["uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t", "int"]);
const lremovexattr = libcFunction("lremovexattr", "int", ["uintptr_t", "uintptr_t"]);

/** The four operations on one file, each giving -1 for failure, like the C functions. */
interface XattrCalls {
  list(address: number, sizeBytes: number): number;
  get(name: RawPath, address: number, sizeBytes: number): number;
  set(name: RawPath, address: number, sizeBytes: number): number;
  remove(name: RawPath): number;
}

/**
 * All extended attributes of an open file or directory, ascending by name; none where the file system has none. One
 * system call where there are none. Throws `SystemError` if they cannot be listed; one that cannot be read is told to
 * `onUnreadable`, or, without it, thrown.
 */
export function readXattrsFd(fd: number, onUnreadable?: OnUnreadableXattr): Xattr[] {
  return readAll(callsOnDescriptor(fd), onUnreadable, undefined);
}

/** The same for a name in a directory; a symbolic link's own attributes, not its target's. */
export function readXattrsAt(dirFd: number, name: RawPath, onUnreadable?: OnUnreadableXattr): Xattr[] {
  return readAll(callsAt(dirFd, name), onUnreadable, name);
}

/** Sets or replaces one. */
export function setXattrFd(fd: number, attribute: Xattr): void {
  set(callsOnDescriptor(fd), attribute, undefined);
}

export function setXattrAt(dirFd: number, name: RawPath, attribute: Xattr): void {
  set(callsAt(dirFd, name), attribute, name);
}

/** Removes one; that it is not there is no error. */
export function removeXattrFd(fd: number, attributeName: RawPath): void {
  remove(callsOnDescriptor(fd), attributeName, undefined);
}

export function removeXattrAt(dirFd: number, name: RawPath, attributeName: RawPath): void {
  remove(callsAt(dirFd, name), attributeName, name);
}

function readAll(calls: XattrCalls, onUnreadable: OnUnreadableXattr | undefined, path: RawPath | undefined): Xattr[] {
  const list = listMemory();
  const listed = calls.list(list.address, MAX_LIST_BYTES);
  if (listed === 0) return [];
  if (listed < 0) {
    const errno = lastErrno();
    if (errno === ERRNO.EOPNOTSUPP || errno === ERRNO.ENOSYS) return [];
    throw new SystemError(errno, "list extended attributes of", path);
  }
  const names = list.bytes
    .latin1Slice(0, listed)
    .split("\0")
    .filter((name) => name !== "")
    .sort() as RawPath[];
  const attributes: Xattr[] = [];
  const buffer = valueMemory();
  for (const name of names) {
    const length = calls.get(name, buffer.address, MAX_VALUE_BYTES);
    if (length >= 0) {
      attributes.push({ name, value: new Uint8Array(buffer.bytes.subarray(0, length)) });
      continue;
    }
    const errno = lastErrno();
    // Removed since it was listed.
    if (errno === ERRNO.ENODATA) continue;
    const error = new SystemError(errno, `read extended attribute ${displayPath(name)} of`, path);
    if (onUnreadable === undefined) throw error;
    onUnreadable(name, error);
  }
  return attributes;
}

function set(calls: XattrCalls, { name, value }: Xattr, path: RawPath | undefined): void {
  if (value.length > MAX_VALUE_BYTES)
    throw new SystemError(ERRNO.ERANGE, `set extended attribute ${displayPath(name)} of`, path);
  const buffer = valueMemory();
  buffer.bytes.set(value);
  check(calls.set(name, buffer.address, value.length), `set extended attribute ${displayPath(name)} of`, path);
}

function remove(calls: XattrCalls, name: RawPath, path: RawPath | undefined): void {
  if (calls.remove(name) === 0) return;
  const errno = lastErrno();
  if (errno !== ERRNO.ENODATA) throw new SystemError(errno, `remove extended attribute ${displayPath(name)} of`, path);
}

function callsOnDescriptor(fd: number): XattrCalls {
  return {
    list: (address, size) => flistxattr()(fd, address, size),
    get: (name, address, size) => fgetxattr()(fd, secondNameAddress(name, "xattr"), address, size),
    set: (name, address, size) => fsetxattr()(fd, secondNameAddress(name, "xattr"), address, size, 0),
    remove: (name) => fremovexattr()(fd, secondNameAddress(name, "xattr")),
  };
}

function callsAt(dirFd: number, name: RawPath): XattrCalls {
  return hasXattrAt() ? callsThroughXattrAt(dirFd, name) : callsThroughProc(dirFd, name);
}

// Linux 6.13 and later. listxattr on a descriptor that is not open tells the two apart.
const hasXattrAt = lazy(() => {
  const address = nameAddress("x" as RawPath, "xattr");
  syscall()(SYS_LISTXATTRAT, -1, address, AT_SYMLINK_NOFOLLOW, 0, 0);
  return lastErrno() === ERRNO.EBADF;
});

function callsThroughXattrAt(dirFd: number, name: RawPath): XattrCalls {
  const path = nameAddress(name, "xattr");
  const call = (number: number, attribute: RawPath, address: number, size: number): number => {
    const packed = xattrArguments();
    packed.words[0] = address % 0x1_0000_0000;
    packed.words[1] = address / 0x1_0000_0000;
    packed.words[2] = size;
    packed.words[3] = 0;
    return xattrAtFunction()(
      number,
      dirFd,
      path,
      AT_SYMLINK_NOFOLLOW,
      secondNameAddress(attribute, "xattr"),
      packed.address,
      XATTR_ARGUMENTS_BYTES,
    );
  };
  return {
    list: (address, size) => syscall()(SYS_LISTXATTRAT, dirFd, path, AT_SYMLINK_NOFOLLOW, address, size),
    get: (attribute, address, size) => call(SYS_GETXATTRAT, attribute, address, size),
    set: (attribute, address, size) => call(SYS_SETXATTRAT, attribute, address, size),
    remove: (attribute) =>
      syscall()(SYS_REMOVEXATTRAT, dirFd, path, AT_SYMLINK_NOFOLLOW, secondNameAddress(attribute, "xattr"), 0),
  };
}

const xattrAtFunction = libcFunction("syscall", "int64", [
  "int64",
  "int64",
  "int64",
  "int64",
  "int64",
  "int64",
  "int64",
]);

/** What is done on older kernels; exported for its test. */
export function callsThroughProc(dirFd: number, name: RawPath): XattrCalls {
  const direct = dirFd === AT_FDCWD || name.startsWith("/");
  const path = nameAddress(direct ? name : (`${descriptorPath(dirFd)}/${name}` as RawPath), "xattr");
  return {
    list: (address, size) => llistxattr()(path, address, size),
    get: (attribute, address, size) => lgetxattr()(path, secondNameAddress(attribute, "xattr"), address, size),
    set: (attribute, address, size) => lsetxattr()(path, secondNameAddress(attribute, "xattr"), address, size, 0),
    remove: (attribute) => lremovexattr()(path, secondNameAddress(attribute, "xattr")),
  };
}
