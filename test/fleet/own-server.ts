/** A server in the tests' own process, with the commands of its administrator and of hosts on the same machine. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { dataFile } from "../../src/fleet/data-folder.ts";
import { createApiClient, type ApiClient } from "../../src/server/api-client.ts";
import { parseConfiguration } from "../../src/server/configuration.ts";
import { startServer, type RunningServer } from "../../src/server/daemon.ts";
import type { Cleanup } from "../support/at-end.ts";
import { atEnd } from "../support/at-end.ts";
import { checkoutFolder, holdfast, holdfastOk } from "../support/holdfast.ts";
import type { CommandResult } from "../support/run-command.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

export interface OwnServer {
  readonly folder: string;
  readonly data: string;
  /** By account. */
  readonly recoveryKeys: ReadonlyMap<string, string>;
  /** Of the server; tests move it. */
  readonly clock: { aheadMs: number };
  /** An administrator's command, which must end with 0. Gives what it printed. */
  admin(...args: string[]): Promise<string>;
  adminTry(...args: string[]): Promise<CommandResult>;
  /** The API without a command, which is quicker. */
  readonly call: ApiClient["call"];
  restart(): Promise<void>;
}

export async function ownServer(t: Cleanup, configuration = ""): Promise<OwnServer> {
  const folder = temporaryFolder(t);
  const data = path.join(folder, "data");
  const recoveryKeys = new Map<string, string>();
  const clock = { aheadMs: 0 };
  const env = { HOLDFAST_DATA: data };
  let server: RunningServer | undefined;

  async function start(): Promise<void> {
    server = await startServer({
      dataFolder: data,
      configuration: parseConfiguration(`[maintenance]\nenabled = false\n${configuration}`, "test"),
      program: "test server",
      programFile: path.join(checkoutFolder, "bin/holdfast"),
      log: () => undefined,
      nowMs: () => Date.now() + clock.aheadMs,
      onRecoveryIdentity: (account, identity) => recoveryKeys.set(account, identity),
    });
  }
  await start();
  atEnd(t, () => server?.close());
  return {
    folder,
    data,
    recoveryKeys,
    clock,
    admin: (...args) => holdfastOk(args, { env }),
    adminTry: (...args) => holdfast(args, { env }),
    call: (method, route, body) => createApiClient(dataFile.apiSocket(data)).call(method, route, body),
    async restart() {
      await server?.close();
      await start();
    },
  };
}

export interface OwnHost {
  readonly name: string;
  /** What it has to save. */
  readonly files: string;
  readonly agentFolder: string;
  agent(...args: string[]): Promise<CommandResult>;
  agentOk(...args: string[]): Promise<string>;
}

/** A host on the same machine that has enrolled, with a policy of its own that saves its files. */
export async function ownHost(
  server: OwnServer,
  name: string,
  files: Readonly<Record<string, string | Uint8Array>>,
  setup: readonly string[] = [],
): Promise<OwnHost> {
  const top = path.join(server.folder, `files-of-${name}`);
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(top, file)), { recursive: true });
    writeFileSync(path.join(top, file), content);
  }
  const agentFolder = path.join(server.folder, `agent-of-${name}`);
  const agent = (...args: string[]): Promise<CommandResult> =>
    holdfast(["agent", ...args, "--agent-folder", agentFolder]);
  const agentOk = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await agent(...args);
    assert.equal(status, 0, stderr + stdout);
    return stdout;
  };
  const hosts = await server.call<{ name: string }[]>("GET", "/v1/hosts");
  if (!hosts.some((host) => host.name === name)) {
    await server.call("POST", `/v1/policies/${name}`, { sources: [top], minimumIntervalMinutes: 0 });
    await server.call("POST", "/v1/hosts", { name, policy: name });
  }
  await agentOk("setup", server.data, "--name", name, "--without-timer", ...setup);
  return { name, files: top, agentFolder, agent, agentOk };
}
