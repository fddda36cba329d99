/**
 * Calls into the C library, where Node has no function for what the kernel can do.
 *
 * Everything goes as numbers: pointers are addresses of memory from `allocateNative`, which never moves, so that a call
 * costs about 0.2 µs above the system call and allocates nothing. Functions are bound when first used, because loading
 * the FFI library takes 12 ms that `--help` should not pay. Each worker thread has its own bindings and memory.
 */
import { createRequire } from "node:module";
import type { RawPath } from "./raw-path.ts";
import { ERRNO, SystemError } from "./system-error.ts";

type ScalarType = "int" | "uint" | "int64" | "uint64" | "uintptr_t";
export type NativeFunction = (...values: number[]) => number;

interface ForeignFunctions {
  load(library: null): { func(name: string, result: string, parameters: readonly string[]): NativeFunction };
  errno(): number;
  address(memory: Uint8Array): bigint;
  readonly decode: { string(address: bigint): string };
}

let isLoaded = false;
const foreign = lazy(() => {
  isLoaded = true;
  return createRequire(import.meta.url)("koffi") as ForeignFunctions;
});
const library = lazy(() => foreign().load(null));

/** All functions that the modules loaded so far may call. */
const declared: (() => NativeFunction)[] = [];

/**
 * Binds all functions at once: for threads, which may only be ended once that is over. A thread that is terminated while
 * the FFI library makes objects for it aborts the process; while it calls a bound function it may be.
 */
export function bindForeignFunctions(): void {
  library();
  for (const bind of declared) isBound(bind);
}

/** The value of `make()`, made when first asked for. */
export function lazy<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

/** A function of the C library. Like the C function, it gives -1 for failure: then ask `lastErrno`. */
export function libcFunction(
  name: string,
  result: ScalarType,
  parameters: readonly ScalarType[],
): () => NativeFunction {
  const bind = lazy(() => library().func(name, result, parameters));
  declared.push(bind);
  return bind;
}

/** Whether all these functions are there to be called: some are parts of Node that need not be. */
export function isExported(functions: Readonly<Record<string, () => NativeFunction>>): boolean {
  let known = exported.get(functions);
  if (known === undefined) {
    known = Object.values(functions).every(isBound);
    exported.set(functions, known);
  }
  return known;
}

const exported = new WeakMap<object, boolean>();

function isBound(bind: () => NativeFunction): boolean {
  try {
    bind();
    return true;
  } catch {
    return false;
  }
}

/** errno of the call just made in this thread. Anything in between may change it. */
export function lastErrno(): number {
  return foreign().errno();
}

/** Text that C code left at an address, up to its NUL. */
export function textAtAddress(address: bigint): string {
  return foreign().decode.string(address);
}

const endProcess = libcFunction("_exit", "int", ["int"]);

/**
 * Ends the process now, as it stands, where the FFI library has been loaded before; otherwise returns. For the last moment:
 * nothing is flushed or closed any more.
 */
export function endNow(exitCode: number): void {
  if (isLoaded) endProcess()(exitCode);
}

/** A raw system call, for those that the C library does not wrap. Numbers above 423 are equal on all architectures. */
export const syscall = libcFunction("syscall", "int64", ["int64", "int64", "int64", "int64", "int64", "int64"]);

/**
 * The number of an older system call. x86-64 has numbers of its own; arm64 and whatever came after it share one list
 * (include/uapi/asm-generic/unistd.h in the kernel's source).
 */
export function olderSyscall(numbers: { readonly x64: number; readonly shared: number }): number {
  if (process.arch === "x64") return numbers.x64;
  if (["arm64", "riscv64", "loong64"].includes(process.arch)) return numbers.shared;
  throw new Error(`Holdfast does not know the system calls of ${process.arch} processors`);
}

/** Memory that system calls read and fill; `words` and `signedWords` are views of the same bytes. */
export interface NativeMemory {
  readonly address: number;
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly signedWords: Int32Array;
}

/** `sizeBytes` must be a multiple of 8. The content is zero. */
export function allocateNative(sizeBytes: number): NativeMemory {
  const bytes = Buffer.from(new ArrayBuffer(sizeBytes));
  return {
    address: addressOf(bytes),
    bytes,
    words: new Uint32Array(bytes.buffer),
    signedWords: new Int32Array(bytes.buffer),
  };
}

/** Where bytes lie. Good as long as somebody holds them; not for typed arrays of 64 bytes and less, which may move. */
export function addressOf(bytes: Uint8Array): number {
  return Number(foreign().address(bytes));
}

/** Longest path the kernel takes in one call, without the NUL. */
export const MAX_PATH_BYTES = 4095;

const nameMemory = lazy(() => allocateNative(2 * (MAX_PATH_BYTES + 1)));

/**
 * Writes a name where C code can read it, and gives its address; valid until the next call. Throws ENAMETOOLONG for one
 * over 4,095 bytes, and EINVAL for one with a NUL, which the kernel would take for its end.
 */
export function nameAddress(name: RawPath, doing: string): number {
  return writeName(name, doing, 0);
}

/** The same for the second name of calls that take two. */
export function secondNameAddress(name: RawPath, doing: string): number {
  return writeName(name, doing, MAX_PATH_BYTES + 1);
}

function writeName(name: RawPath, doing: string, offset: number): number {
  if (name.length > MAX_PATH_BYTES) throw new SystemError(ERRNO.ENAMETOOLONG, doing, name);
  if (name.includes("\0")) throw new SystemError(ERRNO.EINVAL, doing, name);
  const memory = nameMemory();
  const length = memory.bytes.latin1Write(name, offset);
  memory.bytes[offset + length] = 0;
  return memory.address + offset;
}

/** Gives back `result`, or throws what errno says where it is negative. */
export function check(result: number, doing: string, path?: RawPath): number {
  if (result < 0) throw new SystemError(lastErrno(), doing, path);
  return result;
}
