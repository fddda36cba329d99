import { closeSync, constants, openSync } from "node:fs";
import path from "node:path";

/** What the kernel takes as the path of a Unix socket: unix(7), without the closing zero. */
const MAXIMUM_BYTES = 107;

export interface SocketAddress {
  /** To listen at or connect to. */
  readonly path: string;
  /** To be called when nobody needs the path any more: for a listener, after it was closed. */
  readonly release: () => void;
}

/**
 * A path by which the kernel takes the socket `file`, however deep its folder lies: a path that is too long goes by the
 * open folder (proc(5), /proc/self/fd). The folder must be there. Throws what opening it throws.
 */
export function socketAddress(file: string): SocketAddress {
  const absolute = path.resolve(file);
  if (Buffer.byteLength(absolute) <= MAXIMUM_BYTES) return { path: absolute, release: () => undefined };
  const folder = openSync(path.dirname(absolute), constants.O_RDONLY | constants.O_DIRECTORY);
  let released = false;
  return {
    path: `/proc/self/fd/${folder}/${path.basename(absolute)}`,
    release() {
      if (!released) closeSync(folder);
      released = true;
    },
  };
}
