/** A server as people start it, and a host that has only rsync and sshd. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { LogLine, Run } from "../../src/fleet/runs.ts";
import { apiPath, createApiClient, type ApiClient } from "../../src/server/api-client.ts";
import type { PullInstallation } from "../../src/server/pulls/installation.ts";
import type { PullTest } from "../../src/server/pulls/test-host.ts";
import type { Cleanup } from "../support/at-end.ts";
import { checkoutFolder, holdfast, holdfastOk } from "../support/holdfast.ts";
import { startSshServer, type SshServer } from "../support/ssh-server.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { serverProcess } from "./server-process.ts";

export const GATE = path.join(checkoutFolder, "bin/holdfast-gate");

export interface PullSite {
  readonly folder: string;
  readonly data: string;
  /** What is saved of the host. */
  readonly files: string;
  readonly ssh: SshServer;
  readonly api: ApiClient;
  start(): Promise<void>;
  kill(signal: NodeJS.Signals): Promise<void>;
  /** An administrator's command. */
  admin(...args: string[]): Promise<string>;
  adminFails(...args: string[]): Promise<{ status: number; stderr: string; stdout: string }>;
  /** A policy that saves `files`, and a host that follows it. */
  addHost(name: string, more?: readonly string[]): Promise<PullInstallation>;
  /** Replaces the host's authorized_keys. */
  authorize(...lines: readonly string[]): void;
  /** Begins a run, and waits for its end. */
  run(name: string): Promise<PulledRun>;
  test(name: string): Promise<PullTest>;
  /** Commands on the repository itself, with the recovery key. */
  repository(...args: string[]): Promise<string>;
}

export interface PulledRun extends Run {
  readonly log: string;
}

export async function pullSite(t: Cleanup): Promise<PullSite> {
  const folder = temporaryFolder(t);
  const data = path.join(folder, "data");
  const files = path.join(folder, "files");
  mkdirSync(files);
  const ssh = await startSshServer(t);
  const config = path.join(folder, "holdfast.toml");
  writeFileSync(config, "[maintenance]\nenabled = false\n[pulls]\nenabled = false\n");
  const api = createApiClient(path.join(data, "api.sock"));
  const env = { HOLDFAST_DATA: data };
  const { start, kill, admin } = serverProcess(t, data, ["--config", config]);
  await start();
  return {
    folder,
    data,
    files,
    ssh,
    api,
    start,
    kill,
    admin,
    adminFails: async (...args) => {
      const result = await holdfast(args, { env });
      assert.notEqual(result.status, 0, result.stdout);
      return result;
    },
    async addHost(name, more = []) {
      await admin("policy", "add", `of-${name}`, "--source", files, "--minimum-interval", "0");
      const login = ["--pull", `${userName()}@127.0.0.1`, "--port", String(ssh.port), "--policy", `of-${name}`];
      const added = await admin("host", "add", name, ...login, ...more, "--json");
      return (JSON.parse(added) as { installation: PullInstallation }).installation;
    },
    authorize: (...lines) => {
      writeFileSync(path.join(path.dirname(ssh.identityFile), "authorized_keys"), `${lines.join("\n")}\n`);
    },
    async run(name) {
      const { run } = await api.call<{ run: Run }>("POST", apiPath(["hosts", name, "run"]));
      return endOfRun(api, run.id);
    },
    test: (name) => api.call<PullTest>("POST", apiPath(["hosts", name, "test"])),
    repository: (...args) => {
      const recovery = path.join(data, "recovery-key-default.txt");
      return holdfastOk(["-r", path.join(data, "repositories/default"), "--identity-file", recovery, ...args]);
    },
  };
}

export async function endOfRun(api: ApiClient, id: number): Promise<PulledRun> {
  for (let tries = 0; ; tries++) {
    const { run, log } = await api.call<{ run: Run; log: LogLine[] }>("GET", apiPath(["runs", String(id)]));
    if (run.state !== "running" && run.state !== "waiting") {
      return { ...run, log: log.map(({ level, message }) => `${level}: ${message}`).join("\n") };
    }
    if (tries > 1200) throw new Error(`run ${id} does not end`);
    await wait(50);
  }
}

/** The gate's line, for the gate as it lies in the checkout. */
export function gateLine({ gateLine: line, gatePath }: PullInstallation): string {
  if (line === undefined) throw new Error("the gate cannot take these paths");
  return line.replace(gatePath, GATE);
}

/** A line that forces a command of a script of its own, whose text is given. */
export function forcedScript(site: PullSite, { key }: PullInstallation, text: string): string {
  const script = path.join(site.folder, "forced");
  writeFileSync(script, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  return `restrict,command="${script}" ${key}`;
}

export function userName(): string {
  return process.env.USER ?? "root";
}
