import { pullArguments } from "./remote-command.ts";
import type { PullProfile } from "./remote-command.ts";
import { startProcess, startRemote } from "./remote-process.ts";
import type { RemoteProcess, RemoteShell } from "./remote-process.ts";

/** What a sending rsync is started with. */
export interface PullStart {
  /** How to reach the host; undefined to start an rsync on this machine. */
  readonly remote: { readonly shell: RemoteShell; readonly login: string } | undefined;
  /** Absolute paths there, or relative to the login's home folder; see `normaliseRemotePath`. */
  readonly paths: readonly string[];
  readonly oneFileSystem?: boolean;
  /** Compress what travels, with the best that both know. */
  readonly compress?: boolean;
  /** Name or path of rsync there. */
  readonly rsyncProgram?: string;
}

/**
 * Starts the rsync that sends. It reads no file until it is spoken to. To reach a host takes longer than to load all that
 * speaks with it, so this module loads nothing of that.
 */
export function startPull(start: PullStart, profile: PullProfile): RemoteProcess {
  const { remote, paths, oneFileSystem = false, compress = false } = start;
  const words = pullArguments({ paths, oneFileSystem, compress, profile }, start.rsyncProgram);
  return remote === undefined ? startProcess(words) : startRemote(remote.shell, remote.login, words);
}
