import { spawn } from "node:child_process";

export interface CommandOptions {
  /** Added to the environment of the tests; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  /** Runs as this user and group, if the tests run as root. */
  readonly uid?: number;
  readonly gid?: number;
  /** Killed after this time, which makes the test fail. */
  readonly timeoutMs?: number;
  /** Ended, by SIGTERM, once it has printed this. */
  readonly endAt?: string;
}

export interface CommandResult {
  /** Exit code, or -1 if a signal ended it. */
  readonly status: number;
  readonly signal: NodeJS.Signals | null;
  /** As UTF-8; see `stdoutBytes` for output that is not text. */
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: Buffer;
}

/** Runs a program to its end. Does not look at how it ended; see `runOk`. Throws where it cannot be started. */
export function run(command: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin`, LC_ALL: "C.UTF-8", ...options.env },
      uid: options.uid,
      gid: options.gid,
      timeout: options.timeoutMs ?? 120_000,
      killSignal: "SIGKILL",
      stdio: ["pipe", "pipe", "pipe"],
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => {
      stdout.push(chunk);
      if (options.endAt !== undefined && Buffer.concat(stdout).includes(options.endAt)) child.kill("SIGTERM");
    });
    child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      const stdoutBytes = Buffer.concat(stdout);
      resolve({
        status: code ?? -1,
        signal,
        stdout: stdoutBytes.toString("utf8"),
        stderr: Buffer.concat(stderr).toString("utf8"),
        stdoutBytes,
      });
    });
    // A program may end before it has read all its input; how it ended tells the rest.
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.input ?? "");
  });
}

/** Runs a program that must end with 0, and returns its output. Throws with what it said otherwise. */
export async function runOk(command: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  return (await runOkBytes(command, args, options)).toString("utf8");
}

/** As `runOk`, for output that is not text. */
export async function runOkBytes(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<Buffer> {
  const result = await run(command, args, options);
  if (result.status !== 0) {
    const ending = result.signal === null ? `exit code ${result.status}` : `signal ${result.signal}`;
    throw new Error(`${command} ${args.join(" ")}: ${ending}\n${result.stderr || result.stdout}`);
  }
  return result.stdoutBytes;
}
