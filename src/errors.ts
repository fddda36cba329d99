/**
 * Every failure that a caller may handle, or that a person may read.
 *
 * A message says what happened and to what; `hint` says what to do next. The command line prints both and ends with
 * `exitCode` (restic's numbers: 1 failure, 3 some sources unreadable, 10 no repository, 11 locked, 12 wrong password,
 * 130 interrupted). A stack trace is only ever printed for an error that is not one of these: that is a bug.
 */

export interface ErrorDetails {
  /** What the reader can do about it: a sentence, or a command. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** Base of all expected failures. `code` is stable and safe to match on. */
export class HoldfastError extends Error {
  readonly code: string = "failure";
  readonly exitCode: number = 1;
  readonly hint: string | undefined;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.hint = details.hint;
  }
}

/** The arguments or the configuration make no sense. */
export class UsageError extends HoldfastError {
  override readonly code = "usage";
}

/** There is no repository at the place named. */
export class NoRepositoryError extends HoldfastError {
  override readonly code = "no-repository";
  override readonly exitCode = 10;
}

/** Somebody else is doing what may only be done once at a time. */
export class LockedError extends HoldfastError {
  override readonly code = "locked";
  override readonly exitCode = 11;
}

/** No key of the repository opens with what was given. */
export class WrongPasswordError extends HoldfastError {
  override readonly code = "wrong-password";
  override readonly exitCode = 12;
}

/** Stored bytes are not what they should be: truncated, altered, or not ours. Names the object and what is wrong. */
export class DamagedError extends HoldfastError {
  override readonly code = "damaged";
}

/** Stored by a newer Holdfast than this one. */
export class NewerFormatError extends HoldfastError {
  override readonly code = "newer-format";
}

/** An object that should be in storage is not there. */
export class ObjectMissingError extends HoldfastError {
  override readonly code = "object-missing";
}

/** Storage could not do what was asked: full, read-only, unreachable, I/O error. */
export class StorageError extends HoldfastError {
  override readonly code = "storage";
}

/** No snapshot, or more than one, answers to what was named. */
export class SnapshotNotFoundError extends HoldfastError {
  override readonly code = "snapshot-not-found";
}

/** The key at hand may write but not read. */
export class WriteOnlyError extends HoldfastError {
  override readonly code = "write-only";
}

/** The other side of a connection will not do it: not allowed, over a quota, too soon. Asking again will not help. */
export class RefusedError extends HoldfastError {
  override readonly code = "refused";
}

/** The other side cannot do it now, but may later. */
export class BusyError extends HoldfastError {
  override readonly code = "busy";
}

/** The other side is not to be reached, or the connection to it broke. */
export class ConnectionError extends HoldfastError {
  override readonly code = "connection";
}

/** The other side does not keep to the protocol, or speaks another version of it. */
export class ProtocolError extends HoldfastError {
  override readonly code = "protocol";
}

/** Stopped by the user (Ctrl-C, SIGTERM). */
export class InterruptedError extends HoldfastError {
  override readonly code = "interrupted";
  override readonly exitCode = 130;
}

/** The text of any thrown value, for messages. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The errno name (`ENOENT`, `ENOSPC`, …) of a thrown value, if it carries one. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error === "object" && error !== null && "code" in error && typeof error.code === "string")
    return error.code;
  return undefined;
}
