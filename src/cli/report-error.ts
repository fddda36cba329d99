import { HoldfastError, messageOf } from "../errors.ts";

/** What a person and a program are told of a failure that ended a command. */
export interface ErrorReport {
  readonly exitCode: number;
  /** Lines for standard error. */
  readonly text: string;
  /** In the form of restic's `exit_error`. */
  readonly json: object;
}

export function reportError(error: unknown, debug: boolean): ErrorReport {
  const expected = error instanceof HoldfastError;
  const exitCode = expected ? error.exitCode : 1;
  const lines = expected ? expectedLines(error) : bugLines(error);
  if (debug && error instanceof Error) lines.push(fullStack(error));
  const json = {
    message_type: "exit_error",
    code: exitCode,
    message: messageOf(error),
    ...(expected && error.hint !== undefined && { hint: error.hint }),
  };
  return { exitCode, text: lines.join("\n"), json };
}

function expectedLines(error: HoldfastError): string[] {
  return [`Fatal: ${error.message}`, ...(error.hint === undefined ? [] : [`       ${error.hint}`])];
}

function bugLines(error: unknown): string[] {
  return [
    `Fatal: ${messageOf(error)}`,
    "       This is a bug in Holdfast. Run it again with HOLDFAST_DEBUG=1 and report what it prints.",
  ];
}

function fullStack(error: Error): string {
  const own = error.stack ?? String(error);
  return error.cause instanceof Error ? `${own}\ncaused by ${fullStack(error.cause)}` : own;
}
