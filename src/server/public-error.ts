import { errnoOf, RefusedError, StorageError } from "../errors.ts";

/** https://sqlite.org/rescode.html */
const SQLITE_FULL = 13;

/**
 * An error as a host may know it. Of the server's storage and where that lies it learns nothing, but that the disc is
 * full: then it need not try again at once.
 */
export function publicError(error: unknown): unknown {
  if (saysDiscFull(error)) {
    return new RefusedError("the server's disc is full: it keeps what it has rather than make room for more", {
      hint: "an administrator has to add space, lower the policy's floor or remove snapshots",
      cause: error,
    });
  }
  if (!(error instanceof StorageError)) return error;
  return new StorageError("the server's storage has failed; its log tells more", { cause: error });
}

function saysDiscFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const errno = errnoOf(error);
  if (errno === "ENOSPC" || errno === "EDQUOT") return true;
  const { errcode } = error as { errcode?: unknown };
  if (typeof errcode === "number" && (errcode & 0xff) === SQLITE_FULL) return true;
  return saysDiscFull(error.cause);
}
