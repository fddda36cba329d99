/** A server as people run it, in a process of its own, with hosts of this machine that come to it through its socket. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { readAgent, type Agent } from "../../src/agent/state.ts";
import type { Cleanup } from "../support/at-end.ts";
import { holdfastOk } from "../support/holdfast.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { serverProcess } from "./server-process.ts";

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
  const { log, start, kill, admin } = serverProcess(t, data);
  await start();
  return {
    data,
    log,
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
