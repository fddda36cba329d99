/** The whole of it as people use it: a server, hosts that enrol and save over OpenSSH, and what the server does by itself. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import type { FleetStatus } from "../../src/fleet/health.ts";
import type { Run } from "../../src/fleet/runs.ts";
import type { MaintenanceRun } from "../../src/server/maintenance-jobs.ts";
import type { Cleanup } from "../support/at-end.ts";
import { checkoutFolder, holdfast, holdfastOk } from "../support/holdfast.ts";
import { skipUnless } from "../support/requirements.ts";
import { run, runOk } from "../support/run-command.ts";
import { startSshServer, type SshServer } from "../support/ssh-server.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { serverProcess } from "./server-process.ts";

const needsSsh = { skip: skipUnless({ commands: ["ssh", "sshd", "diff"] }) };
const PROGRAM = path.join(checkoutFolder, "bin/holdfast");

interface Site {
  readonly folder: string;
  readonly data: string;
  readonly ssh: SshServer;
  start(): Promise<void>;
  kill(signal: NodeJS.Signals): Promise<void>;
  /** An administrator's command. */
  admin(...args: string[]): Promise<string>;
}

async function site(t: Cleanup): Promise<Site> {
  const folder = temporaryFolder(t);
  const data = path.join(folder, "data");
  const ssh = await startSshServer(t);
  const config = path.join(folder, "holdfast.toml");
  const authorizedKeys = path.join(path.dirname(ssh.identityFile), "authorized_keys");
  writeFileSync(config, `[ssh]\nauthorized_keys = "${authorizedKeys}"\n[maintenance]\nenabled = false\n`);
  const { start, kill, admin } = serverProcess(t, data, ["--config", config]);
  await start();
  return { folder, data, ssh, start, kill, admin };
}

/** A host with files of its own and an agent folder, set up with a token. */
async function enrolHost(here: Site, name: string, files: Readonly<Record<string, string | Buffer>>) {
  const top = path.join(here.folder, `files of ${name}`);
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(top, file)), { recursive: true });
    writeFileSync(path.join(top, file), content);
  }
  await here.admin("policy", "add", `policy-${name}`, "--source", top, "--minimum-interval", "0");
  const added = await here.admin("host", "add", name, "--policy", `policy-${name}`, "--json");
  const { token } = JSON.parse(added) as { token: string };
  const agentFolder = path.join(here.folder, `agent of ${name}`.replaceAll(" ", "-"));
  const agent = (...args: string[]) => holdfast(["agent", ...args, "--agent-folder", agentFolder]);
  const setup = await agent(
    "setup",
    `${userName()}@127.0.0.1:${here.ssh.port}`,
    "--name",
    name,
    "--token",
    token,
    "--without-timer",
  );
  assert.equal(setup.status, 0, setup.stderr);
  return { top, agent, agentFolder, token };
}

function userName(): string {
  return process.env.USER ?? "root";
}

async function ok(result: Promise<{ status: number; stdout: string; stderr: string }>): Promise<string> {
  const { status, stdout, stderr } = await result;
  assert.equal(status, 0, stderr);
  return stdout;
}

test("hosts enrol, save, and come back; the server checks, drills and thins out", needsSsh, async (t) => {
  const here = await site(t);
  const one = await enrolHost(here, "web1", { "a/b": "one", big: randomBytes(3_000_000), "empty folder/x": "" });
  const two = await enrolHost(here, "db1", { dump: randomBytes(1_000_000) });

  await Promise.all([one, two].map(({ agent }) => ok(agent("run"))));
  writeFileSync(path.join(one.top, "a/b"), "changed");
  const second = JSON.parse((await ok(one.agent("run", "--json"))).trim().split("\n").at(-1)!) as Record<
    string,
    number
  >;
  assert.deepEqual([second["files_changed"], second["files_unmodified"]], [1, 2]);
  assert.ok(second["bytes_sent"] < 20_000, `${second["bytes_sent"]}`);

  const restored = path.join(here.folder, "restored");
  await ok(one.agent("restore", `latest:${one.top}`, "--target", restored));
  await runOk("diff", ["-r", one.top, restored]);
  const seen = JSON.parse(await ok(one.agent("snapshots", "--json"))) as { hostname: string }[];
  assert.deepEqual(
    seen.map(({ hostname }) => hostname),
    ["web1", "web1"],
  );

  // With the right key one is still nobody else, and gets no shell.
  const key = path.join(two.agentFolder, "ssh-key");
  const shell = ["-F/dev/null", "-i", key, "-oIdentitiesOnly=yes", `-oUserKnownHostsFile=${here.ssh.knownHostsFile}`];
  const tried = await run(
    "ssh",
    [...shell, "-oBatchMode=yes", "-p", String(here.ssh.port), "127.0.0.1", "id; cat /etc/passwd"],
    { timeoutMs: 30_000 },
  );
  assert.doesNotMatch(tried.stdout, /uid=|root:/);

  for (const job of [["retention"], ["check"], ["drill", "--host", "web1"]]) await here.admin("runs", "start", ...job);
  let jobs: MaintenanceRun[] = [];
  for (let tries = 0; tries < 600; tries++) {
    jobs = JSON.parse(await here.admin("runs", "list", "--maintenance", "--json")) as MaintenanceRun[];
    if (jobs.length === 3 && jobs.every(({ state }) => state !== "running")) break;
    await wait(200);
  }
  assert.deepEqual(
    jobs.map(({ kind, state, error }) => [kind, state, error]),
    [
      ["drill", "succeeded", null],
      ["check", "succeeded", null],
      ["retention", "succeeded", null],
    ],
  );
  const status = JSON.parse(await here.admin("status", "--json")) as FleetStatus;
  assert.equal(status.health, "ok", JSON.stringify(status));
  assert.ok(status.hosts.find(({ host }) => host === "web1")?.provenMs);
  const runs = JSON.parse(await here.admin("runs", "list", "--json")) as Run[];
  assert.deepEqual(runs.map(({ host, state }) => `${host} ${state}`).toSorted(), [
    "db1 succeeded",
    "web1 succeeded",
    "web1 succeeded",
  ]);
  assert.ok(runs.every(({ storedBytes }) => storedBytes > 0));
});

test("a reinstalled host waits for approval, and its old snapshots stay", needsSsh, async (t) => {
  const here = await site(t);
  const { agent, agentFolder, token } = await enrolHost(here, "web1", { a: "one" });
  await ok(agent("run"));
  renameSync(agentFolder, `${agentFolder}.lost`);
  const server = `${userName()}@127.0.0.1:${here.ssh.port}`;
  // The token was for once.
  const again = await agent("setup", server, "--name", "web1", "--token", token, "--without-timer");
  assert.notEqual(again.status, 0);
  const login = [
    "--remote-command",
    `env HOLDFAST_DATA=${here.data} ${PROGRAM}`,
    "--ssh-option",
    `IdentityFile=${here.ssh.identityFile}`,
  ];
  const pending = await ok(agent("setup", server, "--name", "web1", ...login, "--without-timer"));
  assert.match(pending, /host approve web1/);
  assert.notEqual((await agent("run")).status, 0);
  await here.admin("host", "approve", "web1");
  await ok(agent("setup", server, "--name", "web1", ...login, "--without-timer"));
  await ok(agent("run"));
  const seen = JSON.parse(await ok(agent("snapshots", "--json"))) as unknown[];
  assert.equal(seen.length, 2);
  const replaced = await holdfast(["agent", "run", "--agent-folder", `${agentFolder}.lost`]);
  assert.notEqual(replaced.status, 0);
});

test(
  "a server that is killed in the middle of runs loses nothing that it acknowledged, and agents go on",
  needsSsh,
  async (t) => {
    const here = await site(t);
    const files = Object.fromEntries(Array.from({ length: 60 }, (_, number) => [`f${number}`, randomBytes(200_000)]));
    const { top, agent } = await enrolHost(here, "web1", files);
    const acknowledged: string[] = [];
    for (const afterMs of [300, 900, 1700]) {
      appendFileSync(path.join(top, "f1"), randomBytes(500_000));
      const running = agent("run", "--limit-upload", "8M", "--json", "--retry-after", "1", "--retries", "60");
      await wait(afterMs);
      await here.kill("SIGKILL");
      await here.start();
      const { status, stdout, stderr } = await running;
      assert.equal(status, 0, stderr);
      acknowledged.push((JSON.parse(stdout.trim().split("\n").at(-1)!) as { snapshot_id: string }).snapshot_id);
    }
    const seen = JSON.parse(await ok(agent("snapshots", "--json"))) as { id: string }[];
    for (const id of acknowledged) assert.ok(seen.some((snapshot) => snapshot.id === id));
    const restored = path.join(here.folder, "restored");
    await ok(agent("restore", `latest:${top}`, "--target", restored));
    await runOk("diff", ["-r", top, restored]);
    // From nothing but the repository and the recovery key.
    await here.kill("SIGTERM");
    const recovery = path.join(here.folder, "recovery.txt");
    renameSync(path.join(here.data, "recovery-key-default.txt"), recovery);
    const repository = path.join(here.folder, "all that is left");
    renameSync(path.join(here.data, "repositories/default"), repository);
    rmSync(here.data, { recursive: true });
    const anywhere = path.join(here.folder, "anywhere");
    await holdfastOk(["-r", repository, "--identity-file", recovery, "restore", `latest:${top}`, "--target", anywhere]);
    await runOk("diff", ["-r", top, anywhere]);
    await holdfastOk(["-r", repository, "--identity-file", recovery, "check", "--read-data"]);
    // And the server itself, under another name of the folder: the host goes on with its old key.
    await holdfastOk(["--identity-file", recovery, "server", "adopt", repository, "--data", here.data]);
    await here.start();
    await ok(agent("run"));
    assert.ok(!existsSync(path.join(here.data, "recovery-key-default.txt")));
    assert.match(readFileSync(path.join(here.data, "accounts/default/account.json"), "utf8"), /all that is left/);
  },
);
