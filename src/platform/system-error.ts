import { getSystemErrorMessage, getSystemErrorName } from "node:util";
import { displayPath, type RawPath } from "./raw-path.ts";

/**
 * A system call failed. `code` is the errno's name (`ENOENT`, `EACCES`, …), as on Node's own errors, so that `errnoOf`
 * reads both. The message is fit for a person: `open /etc/shadow: permission denied (EACCES)`.
 */
export class SystemError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  readonly path: RawPath | undefined;

  /** `errno` is the positive number from the kernel; `syscall` what was being done: `open`, `stat`, `list`, … */
  constructor(errno: number, syscall: string, path?: RawPath) {
    const code = errnoName(errno);
    const where = path === undefined || path === "" ? "" : ` ${displayPath(path)}`;
    super(`${syscall}${where}: ${errnoMessage(errno)} (${code})`);
    this.name = "SystemError";
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    this.path = path;
  }
}

/** Numbers of the errnos that the program itself gives or compares; the same on x86-64 and arm64. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  EACCES: 13,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EINVAL: 22,
  ENOTTY: 25,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ELOOP: 40,
  ENODATA: 61,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
} as const;

// libuv, which Node asks for names and messages, does not know these, or names them amiss.
const OWN_NAMES = new Map<number, readonly [name: string, message: string]>([
  [ERRNO.EOPNOTSUPP, ["ENOTSUP", "operation not supported"]],
  [ERRNO.ENODATA, ["ENODATA", "no data available"]],
  [117, ["EUCLEAN", "structure needs cleaning"]],
  [122, ["EDQUOT", "disc quota exceeded"]],
  [116, ["ESTALE", "stale file handle"]],
  [123, ["ENOMEDIUM", "no medium found"]],
  [126, ["ENOKEY", "required key not available"]],
]);

function errnoName(errno: number): string {
  const own = OWN_NAMES.get(errno);
  if (own !== undefined) return own[0];
  const name = getSystemErrorName(-errno);
  return name.startsWith("Unknown") ? `E${errno}` : name;
}

function errnoMessage(errno: number): string {
  return OWN_NAMES.get(errno)?.[1] ?? getSystemErrorMessage(-errno);
}
