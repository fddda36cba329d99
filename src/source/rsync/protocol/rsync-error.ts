import { HoldfastError } from "../../../errors.ts";
import type { ErrorDetails } from "../../../errors.ts";

/** rsync's exit codes (rsync(1), "EXIT VALUES"), as far as a peer may see one of ours or we one of theirs. */
export const RSYNC_EXIT = {
  ok: 0,
  usage: 1,
  protocol: 2,
  fileSelection: 3,
  unsupported: 4,
  stream: 12,
  partial: 23,
  vanished: 24,
  timeout: 30,
} as const;

const EXIT_WORDS = new Map<number, string>([
  [1, "syntax or usage error"],
  [2, "protocol incompatibility"],
  [3, "errors selecting files or folders"],
  [4, "requested action not supported"],
  [5, "error starting the client-server protocol"],
  [6, "could not append to the log file"],
  [10, "error in socket I/O"],
  [11, "error in file I/O"],
  [12, "error in the rsync protocol data stream"],
  [13, "errors with program diagnostics"],
  [14, "error in inter-process communication"],
  [15, "a process of rsync crashed"],
  [16, "a process of rsync ended abnormally"],
  [19, "ended by SIGUSR1"],
  [20, "ended by SIGINT, SIGTERM or SIGHUP"],
  [21, "error waiting for a process"],
  [22, "out of memory"],
  [23, "some files or attributes were not transferred"],
  [24, "some files vanished before they could be transferred"],
  [25, "the limit of deletions stopped it"],
  [30, "timeout in sending or receiving"],
  [35, "timeout waiting for the daemon"],
  [124, "the command there ended with status 255"],
  [125, "the command there was killed"],
  [126, "the command there cannot be run"],
  [127, "the command was not found there"],
  [255, "ssh could not connect"],
]);

/** What an exit status of rsync, or of the ssh that carries it, means in words. */
export function rsyncExitWords(exitCode: number): string {
  return EXIT_WORDS.get(exitCode) ?? `exit status ${exitCode}`;
}

/** The other side sent what the rsync protocol does not allow, or what no honest rsync would send. */
export class RsyncProtocolError extends HoldfastError {
  override readonly code = "rsync-protocol";
  /** What we exit with where an rsync is at the other end. */
  readonly rsyncExitCode: number = RSYNC_EXIT.protocol;
}

/** The other side, or the connection to it, failed: rsync or ssh there reported an error, or went away. */
export class RsyncFailedError extends HoldfastError {
  override readonly code = "rsync-failed";
  readonly rsyncExitCode: number;

  constructor(message: string, rsyncExitCode: number, details: ErrorDetails = {}) {
    super(message, details);
    this.rsyncExitCode = rsyncExitCode;
  }
}

/** What was asked of us by an rsync makes no sense here. The message is shown by the rsync that asked. */
export class RsyncRefusedError extends HoldfastError {
  override readonly code = "rsync-refused";
  readonly rsyncExitCode: number;

  constructor(message: string, rsyncExitCode: number = RSYNC_EXIT.unsupported, details: ErrorDetails = {}) {
    super(message, details);
    this.rsyncExitCode = rsyncExitCode;
  }
}
