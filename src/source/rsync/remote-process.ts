import { spawn } from "node:child_process";
import { errnoOf } from "../../errors.ts";
import { fastCipherOptions } from "../../platform/ssh-cipher.ts";
import { shellCommand } from "./remote-command.ts";
import type { Transport } from "./protocol/channel.ts";

/** How to reach a host. */
export interface RemoteShell {
  /** The remote shell and its own arguments: `["ssh", "-p", "2222"]`. */
  readonly command: readonly string[];
}

export interface SshOptions {
  readonly port?: number | undefined;
  readonly identityFile?: string | undefined;
  /** Never ask for a password or a host key: for runs that nobody watches. */
  readonly batch?: boolean;
}

/** OpenSSH, which notices within a few minutes when the other end has gone. */
export function openSsh(options: SshOptions = {}): RemoteShell {
  const command = ["ssh", "-oServerAliveInterval=30", "-oServerAliveCountMax=6", "-x", "-a", "-T"];
  if (options.batch === true) command.push("-oBatchMode=yes");
  if (options.port !== undefined) command.push("-p", String(options.port));
  if (options.identityFile !== undefined) command.push("-oIdentitiesOnly=yes", "-i", options.identityFile);
  return { command };
}

export interface RemoteProcess {
  readonly transport: Transport;
  /** How it ended: its exit status, 125 where it was killed, 127 where it could not be started. */
  readonly exited: Promise<number>;
  /** Why it could not be started, where that is so: nobody there was asked then. */
  readonly startError: () => string | undefined;
  /** The last of what it said beside the protocol. */
  readonly complaints: () => string;
  /** Told of each line of that. */
  onComplaint: (line: string) => void;
  /** Waits for what it may be saying right now: that comes on a way of its own, and may be a little late. */
  readonly hearOut: () => Promise<void>;
  readonly kill: () => void;
}

const KEPT_COMPLAINT_BYTES = 8 * 1024;
const LONGEST_LINE = 8 * 1024;
const HEAR_OUT_MS = 50;

/** Starts `words` on the host through the remote shell. */
export function startRemote(shell: RemoteShell, login: string, words: readonly string[]): RemoteProcess {
  // `--` ends ssh's options, so that no name of a host can be one.
  const [program, ...args] = shell.command;
  const destination = /(?:^|\/)ssh$/.test(program) ? ["--", login] : [login];
  const cipher = fastCipherOptions(program, [...args, ...destination]);
  return startProcess([program, ...args, ...cipher, ...destination, shellCommand(words)]);
}

/** Starts a program here, as if it were there. */
export function startProcess(words: readonly string[]): RemoteProcess {
  const [program, ...args] = words;
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
  let complaints = Buffer.alloc(0);
  let line = "";
  let startError: string | undefined;
  child.stderr.on("data", (chunk: Buffer) => {
    complaints = Buffer.concat([complaints, chunk]).subarray(-KEPT_COMPLAINT_BYTES);
    const lines = (line + chunk.toString("utf8")).split("\n");
    line = (lines.pop() ?? "").slice(-LONGEST_LINE);
    for (const each of lines) remote.onComplaint(each);
  });
  child.stderr.on("error", () => undefined);
  const exited = new Promise<number>((resolve) => {
    child.on("error", (error) => {
      const why = errnoOf(error) === "ENOENT" ? "there is no such program" : error.message;
      startError = `${program} could not be started here: ${why}`;
      resolve(127);
    });
    child.on("close", (exitCode) => resolve(exitCode ?? 125));
  });
  const remote: RemoteProcess = {
    transport: { input: child.stdout, output: child.stdin, chunksAreOurs: true },
    exited,
    startError: () => startError,
    complaints: () => complaints.toString("utf8").trim(),
    onComplaint: () => undefined,
    hearOut: () => new Promise((resolve) => setTimeout(resolve, HEAR_OUT_MS)),
    kill: () => void child.kill("SIGTERM"),
  };
  return remote;
}
