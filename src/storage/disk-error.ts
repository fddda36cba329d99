import { errnoOf, HoldfastError, messageOf, StorageError } from "../errors.ts";

interface Explanation {
  readonly what: string;
  readonly hint?: string;
}

const EXPLANATIONS: Readonly<Record<string, Explanation>> = {
  ENOSPC: { what: "the disc is full", hint: 'make room there, or run "holdfast prune" to delete what is not needed' },
  EDQUOT: { what: "the disc quota is used up", hint: 'raise the quota, or run "holdfast prune"' },
  EFBIG: { what: "the file would be larger than the file system or a limit allows", hint: 'see "ulimit -f"' },
  EROFS: { what: "the disc is read-only", hint: "mount it for writing; if it became so by itself, look at dmesg" },
  EACCES: { what: "permission denied", hint: "give this user the right to it, or run as the user who owns it" },
  EPERM: { what: "operation not permitted", hint: 'look at owner and attributes: "ls -ld" and "lsattr -d"' },
  EIO: { what: "the disc reports an input/output error", hint: "look at dmesg and at the disc's health (smartctl -a)" },
  ENOTDIR: { what: "a part of the path is not a folder" },
  EISDIR: { what: "there is a folder where an object should be" },
  ELOOP: { what: "a symbolic link is in the way", hint: "symbolic links inside a repository are not followed" },
  ENAMETOOLONG: { what: "the path is too long for the file system", hint: "use a shorter path for the repository" },
  ENOENT: { what: "a folder of the repository is gone", hint: "is the disc still mounted?" },
  ENODEV: { what: "the disc is gone", hint: "is it still connected and mounted?" },
  ENXIO: { what: "the disc is gone", hint: "is it still connected and mounted?" },
  ESTALE: { what: "the network file system lost track of it", hint: "mount it again" },
  ENOTCONN: { what: "the mounted file system does not answer", hint: "mount it again" },
  EXDEV: {
    what: "the folders of the repository lie on different file systems",
    hint: "a repository must lie on one file system as a whole",
  },
  EMFILE: { what: "too many files are open", hint: 'raise the limit: "ulimit -n"' },
  ENFILE: { what: "too many files are open on this machine", hint: "raise fs.file-max (sysctl)" },
};

/** What a disc's failure means to people: which object, which path, what happened, what to do. */
export function diskError(error: unknown, doing: string, path: string): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const errno = errnoOf(error);
  const known = errno === undefined ? undefined : EXPLANATIONS[errno];
  const what = known === undefined ? messageOf(error) : `${known.what} (${errno})`;
  return new StorageError(`${doing} failed: ${path}: ${what}`, { hint: known?.hint, cause: error });
}
