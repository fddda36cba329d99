/** A server as people run it, in a process of its own, which tests start and end as they like. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { atEnd, type Cleanup } from "../support/at-end.ts";
import { checkoutFolder, holdfastOk } from "../support/holdfast.ts";

const PROGRAM = path.join(checkoutFolder, "bin/holdfast");

export interface ServerProcess {
  /** What it has written, all starts together. */
  readonly log: () => string;
  /** Resolves when it serves. */
  start(): Promise<void>;
  /** Resolves when it has ended; where none runs, at once. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** An administrator's command, which must end with 0. Gives what it printed. */
  admin(...args: string[]): Promise<string>;
}

/** Does not start it yet. `HOLDFAST_TEST_LOG` shows what it writes. */
export function serverProcess(t: Cleanup, data: string, options: readonly string[] = []): ServerProcess {
  let daemon: ChildProcess | undefined;
  let said = "";

  async function start(): Promise<void> {
    const from = said.length;
    const started = spawn(PROGRAM, ["server", "--data", data, ...options], { stdio: ["ignore", "pipe", "pipe"] });
    daemon = started;
    for (const output of [started.stdout, started.stderr]) {
      output.on("data", (chunk: Buffer) => {
        said += chunk.toString();
        if (process.env.HOLDFAST_TEST_LOG !== undefined) process.stderr.write(chunk);
      });
    }
    while (!said.includes("The server runs", from)) {
      if (started.exitCode !== null || started.signalCode !== null)
        throw new Error(`the server did not start: ${said.slice(from)}`);
      await wait(10);
    }
  }

  async function kill(signal: NodeJS.Signals): Promise<void> {
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const ended = once(daemon, "exit");
    daemon.kill(signal);
    await ended;
  }

  atEnd(t, () => kill("SIGTERM"));
  return { log: () => said, start, kill, admin: (...args) => holdfastOk(args, { env: { HOLDFAST_DATA: data } }) };
}
