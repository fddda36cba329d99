/**
 * Making, renaming and removing names in a directory that a descriptor stands for. None of these follows a symbolic link
 * in the last part of `name`; all throw `SystemError`.
 */
import type { FileType } from "./file-stat.ts";
import { check, lazy, libcFunction, nameAddress, olderSyscall, secondNameAddress, syscall } from "./libc.ts";
import type { RawPath } from "./raw-path.ts";

const AT_REMOVEDIR = 0x200;
const RENAME_NOREPLACE = 1;
const SYS_RENAMEAT2 = lazy(() => olderSyscall({ x64: 316, shared: 276 }));

const mkdirat = libcFunction("mkdirat", "int", ["int", "uintptr_t", "uint"]);
const symlinkat = libcFunction("symlinkat", "int", ["uintptr_t", "int", "uintptr_t"]);
const linkat = libcFunction("linkat", "int", ["int", "uintptr_t", "int", "uintptr_t", "int"]);
const mknodat = libcFunction("mknodat", "int", ["int", "uintptr_t", "uint", "uint64"]);
const unlinkat = libcFunction("unlinkat", "int", ["int", "uintptr_t", "int"]);
const renameat = libcFunction("renameat", "int", ["int", "uintptr_t", "int", "uintptr_t"]);

/** `mode` is narrowed by the umask, as by mkdir(2). */
export function makeDirectoryAt(dirFd: number, name: RawPath, mode: number): void {
  check(mkdirat()(dirFd, nameAddress(name, "mkdir"), mode), "mkdir", name);
}

export function makeSymlinkAt(target: RawPath, dirFd: number, name: RawPath): void {
  check(symlinkat()(secondNameAddress(target, "symlink"), dirFd, nameAddress(name, "symlink")), "symlink", name);
}

/** A second name for a file; an existing symbolic link is itself linked, not its target. */
export function linkAt(fromDirFd: number, from: RawPath, toDirFd: number, to: RawPath): void {
  const fromAddress = secondNameAddress(from, "link");
  check(linkat()(fromDirFd, fromAddress, toDirFd, nameAddress(to, "link"), 0), "link", to);
}

/** Type bits of st_mode. */
const TYPE_BITS = { fifo: 0o010000, char: 0o020000, block: 0o060000, file: 0o100000, socket: 0o140000 } as const;

export type NodeType = keyof typeof TYPE_BITS & FileType;

/** A FIFO, socket, device (with its numbers) or empty file. `mode` is narrowed by the umask. */
export function makeNodeAt(
  dirFd: number,
  name: RawPath,
  type: NodeType,
  mode: number,
  deviceMajor = 0,
  deviceMinor = 0,
): void {
  const address = nameAddress(name, "mknod");
  check(mknodat()(dirFd, address, TYPE_BITS[type] | mode, deviceNumber(deviceMajor, deviceMinor)), "mknod", name);
}

/** As makedev(3): the major number in bits 8 to 19 and 32 to 63, the minor in 0 to 7 and 20 to 31. */
function deviceNumber(major: number, minor: number): number {
  const low = ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
  return (major >>> 12) * 0x1_0000_0000 + low;
}

/** Removes a name that is no directory. */
export function unlinkAt(dirFd: number, name: RawPath): void {
  check(unlinkat()(dirFd, nameAddress(name, "unlink"), 0), "unlink", name);
}

/** Removes an empty directory. */
export function removeDirectoryAt(dirFd: number, name: RawPath): void {
  check(unlinkat()(dirFd, nameAddress(name, "rmdir"), AT_REMOVEDIR), "rmdir", name);
}

/** Renames, replacing what has the name. */
export function renameAt(fromDirFd: number, from: RawPath, toDirFd: number, to: RawPath): void {
  const fromAddress = secondNameAddress(from, "rename");
  check(renameat()(fromDirFd, fromAddress, toDirFd, nameAddress(to, "rename")), "rename", to);
}

/** Renames, or fails with EEXIST where the name is taken; EINVAL on file systems that cannot promise that. */
export function renameWithoutReplacingAt(fromDirFd: number, from: RawPath, toDirFd: number, to: RawPath): void {
  const fromAddress = secondNameAddress(from, "rename");
  const result = syscall()(
    SYS_RENAMEAT2(),
    fromDirFd,
    fromAddress,
    toDirFd,
    nameAddress(to, "rename"),
    RENAME_NOREPLACE,
  );
  check(result, "rename", to);
}
