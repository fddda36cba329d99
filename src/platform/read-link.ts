import { allocateNative, check, lazy, libcFunction, nameAddress, type NativeMemory } from "./libc.ts";
import type { RawPath } from "./raw-path.ts";

const readlinkat = libcFunction("readlinkat", "int64", ["int", "uintptr_t", "uintptr_t", "uintptr_t"]);

// Linux's own file systems allow targets of 4,095 bytes; others may allow more, up to what a page of theirs holds.
const firstMemory = lazy(() => allocateNative(8192));
const LARGEST_BYTES = 16 * 1024 * 1024;

/** The target of a symbolic link. An empty `name` means the link that `dirFd` itself stands for (`OPEN.PATH`). */
export function readLinkAt(dirFd: number, name: RawPath): RawPath {
  const address = nameAddress(name, "readlink");
  let memory: NativeMemory = firstMemory();
  for (;;) {
    const capacity = memory.bytes.length;
    const length = check(readlinkat()(dirFd, address, memory.address, capacity), "readlink", name);
    // The kernel cuts without a word: only a target shorter than the room for it is surely whole.
    if (length < capacity || capacity >= LARGEST_BYTES) return memory.bytes.latin1Slice(0, length) as RawPath;
    memory = allocateNative(capacity * 2);
  }
}
