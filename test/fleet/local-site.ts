/** A server as people run it, in a process of its own, with hosts of this machine that come to it through its socket. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { readAgent, type Agent } from "../../src/agent/state.ts";
import { atEnd, type Cleanup } from "../support/at-end.ts";
import { checkoutFolder, holdfastOk } from "../support/holdfast.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const PROGRAM = path.join(checkoutFolder, "bin/holdfast");

export interface LocalSite {
  readonly data: string;
  /** What the server has written. */
  readonly log: () => string;
  start(): Promise<void>;
  /** Ends when the process has ended. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** An administrator's command. */
  admin(...args: string[]): Promise<string>;
  /** Lets a host of this name save, as often as it likes; `agent` is as `agent setup` has left it. */
  enrol(name: string, top: string): Promise<{ readonly agent: Agent; readonly agentFolder: string }>;
}

export async function localSite(t: Cleanup, data = path.join(temporaryFolder(t), "data")): Promise<LocalSite> {
  mkdirSync(data, { recursive: true });
  writeFileSync(path.join(data, "holdfast.toml"), "[maintenance]\nenabled = false\n");
  const env = { HOLDFAST_DATA: data };
  let daemon: ChildProcess | undefined;
  let said = "";

  async function start(): Promise<void> {
    const from = said.length;
    const started = spawn(PROGRAM, ["server", "--data", data], { stdio: ["ignore", "pipe", "pipe"] });
    daemon = started;
    for (const output of [started.stdout, started.stderr]) {
      output.on("data", (chunk: Buffer) => {
        said += chunk.toString();
        if (process.env.HOLDFAST_TEST_LOG !== undefined) process.stderr.write(chunk);
      });
    }
    while (!said.includes("The server runs", from)) {
      if (started.exitCode !== null) throw new Error(`the server did not start: ${said.slice(from)}`);
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
  await start();
  const admin = (...args: string[]): Promise<string> => holdfastOk(args, { env });
  return {
    data,
    log: () => said,
    start,
    kill,
    admin,
    async enrol(name, top) {
      await admin("policy", "add", `policy-${name}`, "--source", top, "--minimum-interval", "0");
      await admin("host", "add", name, "--policy", `policy-${name}`);
      const agentFolder = path.join(temporaryFolder(t), "agent");
      const setup = ["agent", "setup", data, "--name", name, "--agent-folder", agentFolder, "--without-timer"];
      await holdfastOk(setup);
      return { agent: readAgent(agentFolder), agentFolder };
    },
  };
}
